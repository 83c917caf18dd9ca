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
    """A model from pixels to ``logits``, or to masks and their classes (MaskFormer and its kin).

    With ``bgr`` pixels are fed in that order.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: int,
        normalisation: Normalisation = IMAGENET,
        bgr: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(module, classes, normalisation, **options)
        self._bgr = bgr

    def answer(self, frame: Tensor) -> Tensor:
        parameter = next(self.module.parameters())
        pixels = self._wanted.of_bytes(frame).to(parameter)
        return self.scores(self.module(pixel_values=pixels.flip(1) if self._bgr else pixels))

    def scores(self, output: Any) -> Tensor:
        if getattr(output, "masks_queries_logits", None) is None:
            return output.logits
        classes = output.class_queries_logits.float().softmax(-1)[..., :-1]
        masks = output.masks_queries_logits.float().sigmoid()
        return torch.einsum("nqc,nqhw->nchw", classes, masks)


def open_huggingface(
    text: str, told: ClassSet | None = None
) -> tuple[HuggingFaceNetwork, ClassSet]:
    """``ORG/NAME`` or a folder; ``?revision=`` and ``?classes=`` may follow.

    Raises :class:`~accel_rt.errors.WeightsError` for what is not there or no such model.
    """
    place = Place.parse(text, ("revision", "classes"), told)
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
        processor = transformers.AutoImageProcessor.from_pretrained(place.name, **where)
    except OSError:  # there is none
        processor = None
    except Exception as error:  # of what it needs, of processors
        why = reason(error).partition(". ")[0]  # pages of what there is may follow
        raise WeightsError(
            f"the image processor of hf:{place.name} cannot be used ({why}): install what it "
            f"needs, or name another model"
        ) from error
    return of_model(model, processor, place)


def of_model(model: nn.Module, processor: Any, place: Place) -> tuple[HuggingFaceNetwork, ClassSet]:
    """A model in memory, fed as its image processor does; for None in any size, as ImageNet's."""
    config: Any = model.config
    named = [config.id2label[n] for n in sorted(config.id2label)]
    nameless = all(str(name) == f"LABEL_{n}" for n, name in enumerate(named))
    classes = place.classes(len(named), None if nameless else named)
    if processor is None:
        return HuggingFaceNetwork(model, len(named)), classes
    feeds = processor.to_dict()  # with the defaults of its class
    size, fixed = _sizes(feeds)
    bgr = bool(feeds.get("do_flip_channel_order"))
    network = HuggingFaceNetwork(
        model, len(named), _normalisation(feeds), bgr, size=size, fixed_size=fixed
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
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale") else 1.0
    bytes_to_one = 255 * factor  # what a byte of 255 becomes
    if not processor.get("do_normalize"):
        return Normalisation((0.0, 0.0, 0.0), (1 / bytes_to_one,) * 3)
    mean = processor.get("image_mean") or IMAGENET.mean_rgb
    std = processor.get("image_std") or IMAGENET.std_rgb
    scaled = [tuple(float(part) / bytes_to_one for part in parts) for parts in (mean, std)]
    return Normalisation(*scaled)  # type: ignore[arg-type]


def _sizes(processor: dict[str, Any]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """The ``(height, width)`` of which the shorter side counts, and the only one, if any."""
    size = processor.get("size")
    if not processor.get("do_resize") or not size:
        return None, None
    if isinstance(size, int):
        return None, (size, size)
    if "height" in size and "width" in size:
        return None, (size["height"], size["width"])
    shortest = size.get("shortest_edge")
    return (None if shortest is None else (shortest, shortest)), None
