"""The models of the end-to-end benchmark: networks that are installed, with their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from accel_rt.models import store
from accel_rt.models.exported import ENGINES, engine_version
from accel_rt.runtime.load import keyframe_interval
from accel_rt.runtime.settings import Precision, SegmenterSettings


@dataclass(frozen=True)
class Model:
    """A segmenter's settings under a name; with ``plain``, its reference in plain PyTorch.

    ``plain`` runs on every frame in float32, whatever the device can do better.
    """

    name: str
    settings: SegmenterSettings
    plain: bool = False

    @property
    def interval(self) -> int:
        """Frames from keyframe to keyframe."""
        return 1 if self.plain else keyframe_interval(self.settings)

    def on(self, device: str, precision: Precision) -> Model:
        """The same on a device and in a precision."""
        return replace(self, settings=replace(self.settings, device=device, precision=precision))


_LIGHT = SegmenterSettings(scene_cuts=False)
_RESNET = replace(_LIGHT, reference="resnet101", update="resnet18")

BASELINE = Model("DeepLab-101, plain PyTorch", replace(_RESNET, mode="deeplab"), plain=True)

QUICK_MODELS = (
    BASELINE,
    Model("DeepLab-101", replace(_RESNET, mode="deeplab")),
    Model("DFF", replace(_RESNET, mode="dff")),
    Model("Accel-18", _RESNET),
    Model("Accel-Lite0", _LIGHT),
)
MODELS = (
    *QUICK_MODELS[:-1],
    Model("Accel-18, update x0.5", replace(_RESNET, update_scale=0.5)),
    Model("Accel-34", replace(_RESNET, update="resnet34")),
    Model("DeepLab-Lite2", replace(_LIGHT, mode="deeplab")),
    Model("DFF-Lite", replace(_LIGHT, mode="dff")),
    QUICK_MODELS[-1],
    Model("Accel-Lite0, torch", replace(_LIGHT, backend="torch")),
    *(
        Model(f"Accel-Lite0, {engine}", replace(_LIGHT, backend=engine))
        for engine in ENGINES
        if engine_version(engine)
    ),
    Model("Accel-Lite0, update x0.5", replace(_LIGHT, update_scale=0.5)),
)


def with_weights(models: Sequence[Model], report: Callable[[str], None]) -> list[Model]:
    """Those whose networks are installed; of the others it is reported what is missing."""
    installed = {entry.name for entry in store.installed()}
    found = []
    for model in models:
        wanted = [model.settings.reference]
        wanted += [model.settings.update] if model.settings.mode == "accel" else []
        missing = [name for name in wanted if name not in installed]
        if missing:
            report(f"{model.name} is left out: no weights of {missing[0]} are installed")
        else:
            found.append(model)
    return found
