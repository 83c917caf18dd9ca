"""Semantic segmentation models of transformers, from the hub, its cache or a folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError, WeightsError
from accel_rt.models.foreign.network import ModuleNetwork
from accel_rt.models.foreign.place import Place
from accel_rt.models.optional import package, reason
from accel_rt.normalise import IMAGENET, Normalisation


class HuggingFaceNetwork(ModuleNetwork):
    """A model from pixels to ``logits``, or to masks and their classes (MaskFormer and its kin)."""

    def answer(self, frame: Tensor) -> Tensor:
        parameter = next(self.module.parameters())
        pixels = self._wanted.of_bytes(frame).to(parameter)
        return self.scores(self.module(pixel_values=pixels))

    def scores(self, output: Any) -> Tensor:
        if getattr(output, "masks_queries_logits", None) is None:
            return output.logits
        classes = output.class_queries_logits.float().softmax(-1)[..., :-1]
        masks = output.masks_queries_logits.float().sigmoid()
        return torch.einsum("nqc,nqhw->nchw", classes, masks)


def open_huggingface(text: str) -> tuple[HuggingFaceNetwork, ClassSet]:
    """``ORG/NAME`` or a folder; ``?revision=`` and ``?classes=`` may follow.

    Raises :class:`~accel_rt.errors.WeightsError` for what is not there or no such model.
    """
    place = Place.parse(text, ("revision", "classes"))
    transformers = package("transformers", "hub", "hf")
    where = {"revision": place.options.get("revision", "main")}
    try:
        config = transformers.AutoConfig.from_pretrained(place.name, **where)
        kind = _kind(transformers, config)
        model = kind.from_pretrained(place.name, config=config, dtype=torch.float32, **where)
    except Exception as error:  # of the hub, of files, of models
        raise WeightsError(
            f"hf:{place.name} cannot be used ({reason(error)}): name a segmentation model of the "
            f"hub, or a folder that one was saved in"
        ) from error
    try:
        mixin = transformers.image_processing_utils.ImageProcessingMixin
        processor, _ = mixin.get_image_processor_dict(place.name, **where)
    except (OSError, ValueError):
        processor = {}
    return of_model(model, processor, place)


def of_model(
    model: nn.Module, processor: dict[str, Any] | None = None, place: Place | None = None
) -> tuple[HuggingFaceNetwork, ClassSet]:
    """A model in memory, and what its processor's description says of its pictures."""
    config: Any = model.config
    place = place or Place(type(model).__name__)
    named = [config.id2label[n] for n in sorted(config.id2label)]
    nameless = all(str(name) == f"LABEL_{n}" for n, name in enumerate(named))
    classes = place.classes(len(named), None if nameless else named)
    size, fixed = _sizes(processor or {"do_resize": False})
    network = HuggingFaceNetwork(
        model, len(named), _normalisation(processor or {}), size=size, fixed_size=fixed
    )
    return network, classes


def _kind(transformers: Any, config: Any) -> Any:
    """The class of models that ``config`` describes, if these segment pictures into classes."""
    for kind in (
        transformers.AutoModelForSemanticSegmentation,
        transformers.AutoModelForUniversalSegmentation,
    ):
        if type(config) in kind._model_mapping:
            if config.model_type == "oneformer":
                break
            return kind
    raise UsageError(f"a {config.model_type} does not segment pictures without further input")


def _normalisation(processor: dict[str, Any]) -> Normalisation:
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0
    bytes_to_one = 255 * factor  # what a byte of 255 becomes
    if not processor.get("do_normalize", True):
        return Normalisation((0.0, 0.0, 0.0), (1 / bytes_to_one,) * 3)
    mean = processor.get("image_mean") or IMAGENET.mean_rgb
    std = processor.get("image_std") or IMAGENET.std_rgb
    scaled = [tuple(float(part) / bytes_to_one for part in parts) for parts in (mean, std)]
    return Normalisation(*scaled)  # type: ignore[arg-type]


def _sizes(processor: dict[str, Any]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """The ``(height, width)`` of which the shorter side counts, and the only one, if any."""
    size = processor.get("size")
    if not processor.get("do_resize", True) or not size:
        return None, None
    if isinstance(size, int):
        return None, (size, size)
    if "height" in size and "width" in size:
        return None, (size["height"], size["width"])
    shortest = size.get("shortest_edge")
    return (None if shortest is None else (shortest, shortest)), None
