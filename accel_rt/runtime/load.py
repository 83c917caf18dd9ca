"""From settings to a ready segmenter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from accel_rt import ops
from accel_rt.classes import ClassSet
from accel_rt.device import resolve_device, resolve_precision
from accel_rt.errors import UsageError
from accel_rt.files import contents_digest
from accel_rt.flow.codec import CodecFlow
from accel_rt.flow.device_dis import DeviceDIS
from accel_rt.flow.dis import DISFlow
from accel_rt.flow.source import FlowSource
from accel_rt.models import store
from accel_rt.models.accel import Accel, FeatureFusion, ProbabilityFusion, ScoreFusion
from accel_rt.models.exported import ExportedNetwork
from accel_rt.models.foreign.open import foreign_digest, is_foreign, load_placed, place
from accel_rt.models.fuse import for_inference
from accel_rt.models.mapped import MappedNetwork, read_map
from accel_rt.models.network import DeconvTaskNetwork, Network
from accel_rt.models.weights import ModelInfo, content_hash
from accel_rt.runtime.adaptive import Adaptive
from accel_rt.runtime.backends import LoadNetwork, describe, on_backend
from accel_rt.runtime.budget import Budget
from accel_rt.runtime.cuda import CudaExecutor
from accel_rt.runtime.cuda_device import wake
from accel_rt.runtime.cuda_launch import CudaLauncher
from accel_rt.runtime.eager import EagerExecutor
from accel_rt.runtime.executor import Executor, in_background, in_turn
from accel_rt.runtime.look_ahead import LookAheadSegmenter
from accel_rt.runtime.policy import FixedInterval, KeyframePolicy, SceneCuts
from accel_rt.runtime.program import FrameProgram
from accel_rt.runtime.result import FrameSegmenter
from accel_rt.runtime.schedule import PolicyName, Schedule
from accel_rt.runtime.segmenter import Segmenter
from accel_rt.runtime.settings import DEFAULT_UPDATE, FLOWS, SegmenterSettings

FLOWNETS_WEIGHTS = "flownets"
"""Name of the installed FlowNetS weights."""


@dataclass(frozen=True)
class LoadedModel:
    """The branches that settings name, what the reference's file says, and a description.

    ``incremental`` is how the state is warped; ``flow`` the flow network in the reference's file.
    """

    model: Accel
    info: ModelInfo
    description: dict[str, Any]
    incremental: bool = False
    flow: Path | None = None

    def size(self, settings: SegmenterSettings) -> tuple[int, int] | None:
        """The ``(height, width)`` to work in: the user's, or the only one that the reference takes,
        or None."""
        return settings.size or self.model.reference.fixed_size


def own_part(settings: SegmenterSettings, part: str) -> Path | None:
    """A part of the reference's own file, if that is a model's and has it."""
    reference = place(settings.reference)
    return store.own_part(reference, part) if isinstance(reference, Path) else None


def update_place(settings: SegmenterSettings) -> Path | str:
    """The :func:`~accel_rt.models.foreign.open.place` of the update network: in the reference's own
    file, if that has one and no other is asked for."""
    own = own_part(settings, "update") if settings.update == DEFAULT_UPDATE else None
    return own or place(settings.update, "update")


def load_model(settings: SegmenterSettings, load: LoadNetwork = load_placed) -> LoadedModel:
    """Load the networks that ``settings`` name, and the fusion of the two.

    ``load`` opens the network of a :func:`~accel_rt.models.foreign.open.place`. Raises
    :class:`~accel_rt.errors.UsageError` for unknown names or networks that do not go together, and
    :class:`~accel_rt.errors.WeightsError` for files that cannot be used.
    """
    if settings.fusion == "feature":  # goes through both networks, which others leave prepared
        load = load_placed
    put = on_backend(load, settings)
    reference, info = put(place(settings.reference))
    description: dict[str, Any] = {"mode": settings.mode, "reference": info.network}
    model = Accel(reference)
    if settings.mode == "accel" and settings.schedule.updates:
        update, update_info = put(update_place(settings))
        if settings.map is not None:
            matrix = read_map(Path(settings.map), update_info.classes, info.classes)
            update = MappedNetwork(update, matrix)
        elif update_info.classes.names != info.classes.names:
            raise UsageError(
                f"'{settings.reference}' and '{settings.update}' were trained for different "
                f"classes: choose networks of one class set, or say which stand for which by --map"
            )
        fusion, fused = _fusion(settings, reference, update)
        if isinstance(fusion, FeatureFusion) and ExportedNetwork in map(type, (reference, update)):
            if settings.backend != "auto":
                raise UsageError("the fusion of features runs on torch alone: omit --backend")
            return load_model(replace(settings, backend="torch"), load)
        description |= fused
        description["update"] = update_info.network
        description["update_scale"] = settings.update_scale
        model = Accel(reference, update, fusion)
    schedule, warp = settings.schedule, settings.warp
    if warp == "auto":
        warp = "incremental" if isinstance(reference.task, DeconvTaskNetwork) else "composed"
    how = {"interval": schedule.interval, "schedule": schedule.describe(), "warp": warp}
    how["backend"] = describe(model)
    description |= how
    return LoadedModel(model, info, description, warp == "incremental", own_part(settings, "flow"))


def _fusion(
    settings: SegmenterSettings, reference: Network, update: Network
) -> tuple[ScoreFusion | FeatureFusion | ProbabilityFusion, dict[str, str]]:
    """The fusion that ``settings`` ask for, and its description: with a ``note`` if it is not."""
    if isinstance(update, MappedNetwork):
        return ProbabilityFusion(update.known), {"fusion": "mean of probabilities, classes mapped"}
    kind, path = settings.fusion, settings.fusion_weights
    if path is None and kind != "mean":
        places = place(settings.reference), update_place(settings)
        path = store.find_fusion(*places, kind)
    if path is not None:
        return store.load_pair_fusion(path, reference, update), {"fusion": path.stem}
    if kind == "feature":
        raise UsageError(
            f"no feature fusion of '{settings.reference}' and '{settings.update}' is installed: "
            f"train one with 'accel-rt train joint --fusion feature', or choose --fusion score"
        )
    note = {} if kind == "mean" else {"note": store.no_fusion(settings.reference, settings.update)}
    if is_foreign(settings.reference) or is_foreign(settings.update):
        return ProbabilityFusion(), {"fusion": "mean of both branches' probabilities", **note}
    mean = ScoreFusion(reference.classes).eval()
    return mean, {"fusion": "mean of both branches", **note}


def weights_digests(settings: SegmenterSettings) -> list[str]:
    """What tells the files that ``settings`` use, weights above all, from others of their names.

    Raises as :func:`load_model`.
    """
    used = [place(settings.reference)]
    if settings.mode == "accel" and settings.schedule.updates:
        used.append(update_place(settings))
        fusion = settings.fusion_weights
        if fusion is None and settings.fusion != "mean":
            fusion = store.find_fusion(used[0], used[1], settings.fusion)
        used += [fusion] if fusion else []
    if settings.flow not in ("codec", "dis"):
        named = settings.flow in FLOWS
        with suppress(UsageError):  # those that are not installed are not used, or missed later
            own = own_part(settings, "flow") if named else None
            name = FLOWNETS_WEIGHTS if named else settings.flow
            used.append(own or store.find(name, "flownets"))
    if _policy_name(settings.schedule) == "budget":
        used.append(store.find(store.POLICY_WEIGHTS, store.POLICY_WEIGHTS))
    told = [foreign_digest(f) if isinstance(f, str) else content_hash(f) for f in used]
    return told + ([contents_digest([Path(settings.map)])] if settings.map else [])


def keyframe_interval(settings: SegmenterSettings) -> int:
    """Frames from keyframe to keyframe: 1 in ``deeplab`` mode, whatever the interval says."""
    return settings.schedule.interval


def _policy_name(schedule: Schedule) -> PolicyName:
    return schedule.policy if schedule.interval > 1 else "fixed"


def keyframe_policy(settings: SegmenterSettings) -> KeyframePolicy:
    """When ``settings`` want keyframes."""
    schedule = settings.schedule
    kinds: dict[str, Callable[[int, int], KeyframePolicy]]
    kinds = {"fixed": FixedInterval, "adaptive": Adaptive, "budget": Budget}
    policy = kinds[_policy_name(schedule)](schedule.interval, schedule.update_every)
    return SceneCuts(policy) if settings.scene_cuts and schedule.interval > 1 else policy


def load_segmenter(
    settings: SegmenterSettings | None = None,
    asynchronous: bool = False,
    threads: int | None = None,
    load: LoadNetwork = load_placed,
    overlap: bool = False,
) -> FrameSegmenter:
    """Load the networks that ``settings`` name and put them together.

    With ``asynchronous`` frames do not wait for keyframes, unless every frame is one: these are
    computed beside them, on the CPU in a thread that shares ``threads`` with the frames (torch's
    own number for None). With ``overlap`` a GPU begins each frame before the one before is done,
    whose result ``push`` then returns. ``load`` and what is raised are :func:`load_model`'s.
    """
    settings = settings or SegmenterSettings()
    device = resolve_device(settings.device)
    if device.type == "cuda":
        wake(device)
    loaded = load_model(settings, load)
    return segmenter_of(loaded, settings, asynchronous, threads, overlap=overlap)


def segmenter_of(
    loaded: LoadedModel,
    settings: SegmenterSettings,
    asynchronous: bool = False,
    threads: int | None = None,
    program: Callable[..., FrameProgram] = FrameProgram,
    overlap: bool = False,
) -> FrameSegmenter:
    """:func:`load_segmenter` of networks that are loaded; ``program`` makes the frame program."""
    device = resolve_device(settings.device)
    dtype = resolve_precision(settings.precision, device)
    return build_segmenter(
        loaded.model,
        loaded.info.classes,
        flow=load_flow(settings, device, dtype, loaded.flow),
        policy=keyframe_policy(settings),
        schedule=settings.schedule,
        incremental=loaded.incremental,
        update_scale=settings.update_scale,
        trained=loaded.info.size,
        size=loaded.size(settings),
        device=device,
        dtype=dtype,
        margins=settings.margins,
        description=loaded.description,
        cuda_graphs=settings.cuda_graphs,
        background=asynchronous and keyframe_interval(settings) > 1,
        threads=threads,
        program=program,
        overlap=overlap,
    )


def build_segmenter(
    model: Accel,
    classes: ClassSet,
    *,
    flow: FlowSource | None = None,
    policy: KeyframePolicy | None = None,
    schedule: Schedule | None = None,
    incremental: bool = False,
    update_scale: float = 1.0,
    trained: tuple[int, int] | None = (360, 480),
    size: tuple[int, int] | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    margins: bool = False,
    description: dict[str, Any] | None = None,
    cuda_graphs: bool = True,
    background: bool = False,
    threads: int | None = None,
    program: Callable[..., FrameProgram] = FrameProgram,
    overlap: bool = False,
) -> FrameSegmenter:
    """A segmenter of networks in memory; ``model`` is taken over and changed for inference.

    What is given makes the mode: without ``flow`` the keyframe's features are copied (Clockwork),
    with flow and no update branch they are warped (Deep Feature Flow), with both this is Accel,
    and with a keyframe interval of 1 every frame is a keyframe (DeepLab). ``policy`` keeps to
    ``schedule`` by default. ``background`` computes keyframes beside the frames, unless the
    schedule looks ahead.
    """
    schedule = schedule or Schedule()
    policy = policy or FixedInterval(schedule.interval, schedule.update_every)
    device = device or torch.device("cpu")
    on_cuda = device.type == "cuda"
    steps = program(
        for_inference(model, device, dtype),
        device,
        dtype,
        incremental=incremental,
        update_scale=update_scale,
    )
    if schedule.look_ahead:
        return LookAheadSegmenter(
            classes,
            policy,
            steps,
            flow,
            schedule,
            trained=trained,
            size=size,
            margins=margins,
            launcher=CudaLauncher(device, cuda_graphs) if on_cuda and not model.foreign else None,
            overlap=overlap and on_cuda and not model.foreign,
            description=description,
        )
    executor: Executor
    if on_cuda:
        graphs = cuda_graphs and not model.foreign
        executor = CudaExecutor(
            steps, flow, schedule, margins=margins, graphs=graphs, background=background
        )
    else:
        executor = EagerExecutor(
            steps, flow, schedule, margins=margins, background=background, threads=threads
        )
    return Segmenter(
        classes,
        policy,
        executor,
        order=in_background if background else in_turn,
        overlap=overlap and on_cuda,
        trained=trained,
        size=size,
        description=description,
    )


def load_flow(
    settings: SegmenterSettings,
    device: torch.device,
    dtype: torch.dtype,
    own: Path | None = None,
) -> FlowSource | None:
    """The flow that ``settings`` ask for; None where their mode needs none.

    ``auto`` is the model's ``own`` flow network, if it has one, else DIS on CUDA, there on the
    device, and elsewhere the video's own vectors, with DIS where it has none that serve.
    """
    if settings.mode in ("copy", "deeplab") or settings.interval == 1:
        return None
    on_cuda, automatic = device.type == "cuda", settings.flow == "auto"
    if not automatic and settings.flow != FLOWNETS_WEIGHTS:
        own = None
    automatic = automatic and own is None
    if settings.flow == "dis" or (automatic and on_cuda):
        return DeviceDIS(device) if on_cuda and ops.has_operator("patch_flow") else DISFlow()
    if settings.flow == "codec" or automatic:
        return CodecFlow()
    from accel_rt.flow.flownets import FlowNetSFlow, load_flownet

    try:
        named = settings.flow in FLOWS
        path = own or store.find(FLOWNETS_WEIGHTS if named else settings.flow, "flownets")
    except UsageError as error:
        raise UsageError(
            f"no '{FLOWNETS_WEIGHTS}' weights are installed: put {FLOWNETS_WEIGHTS}.safetensors "
            f"into $ACCEL_RT_WEIGHTS, give --flow its path, or choose --flow dis"
        ) from error
    return FlowNetSFlow(load_flownet(path), device, dtype)
