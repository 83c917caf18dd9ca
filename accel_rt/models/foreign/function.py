"""Any Python function from a frame to scores, labels or masks of instances."""

from __future__ import annotations

import importlib
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from accel_rt import ops
from accel_rt.class_sets import class_set
from accel_rt.classes import IGNORE_LABEL, ClassSet
from accel_rt.errors import AccelError, UsageError, WeightsError
from accel_rt.models.foreign.network import ForeignNetwork
from accel_rt.models.foreign.place import Place
from accel_rt.models.layers import resize_grid

Function = Callable[[np.ndarray], Any]
"""Takes a frame, uint8 BGR ``[H, W, 3]``."""

Kind = Literal["scores", "labels", "masks"]

_WANTED = (
    "a network must answer with scores (floats [C, h, w]), labels (whole numbers [h, w]) or masks "
    "(booleans [n, h, w], or one for each instance's name)"
)
_SPARE = 32  # labels that may yet come, beyond those of the first answer
_WIDEST = 1 << 24  # labels lie no further apart


class Labels:
    """The labels that were seen, any whole numbers, each with a channel of its own."""

    def __init__(self) -> None:
        self._seen: list[int] = []

    def __len__(self) -> int:
        return len(self._seen)

    def channels(self, labels: Tensor) -> Tensor:
        """The channel of each of ``labels``, int64; new ones get the next."""
        low, high = int(labels.min()), int(labels.max())
        if high - low >= _WIDEST:
            raise UsageError(f"labels are to lie within {_WIDEST} of each other, got {low}, {high}")
        there = torch.bincount((labels - low).flatten()).nonzero()[:, 0]
        values = (there + low).tolist()
        self._seen += [value for value in values if value not in self._seen]
        table = torch.zeros(high - low + 1, dtype=torch.int64, device=labels.device)
        table[there] = table.new_tensor([self._seen.index(value) for value in values])
        return table[labels - low]

    def of(self, channels: Tensor) -> Tensor:
        """The labels of ``channels``, int64; those of channels not given yet are the first."""
        seen = torch.tensor(self._seen, device=channels.device)
        return seen[channels.long().where(channels < len(seen), 0)]


@dataclass(frozen=True)
class Answer:
    """What a function returned for a frame, as it was and as a tensor.

    ``tensor`` is floating ``[C, h, w]`` for scores, int64 ``[h, w]`` for labels, bool
    ``[n, h, w]`` for masks. With ``labels`` those are the channels of these.
    """

    raw: Any
    tensor: Tensor
    labels: Labels | None = None

    @classmethod
    def of(cls, raw: Any) -> Answer:
        """Finds out what ``raw`` is; raises :class:`~accel_rt.errors.UsageError` for none of
        these."""
        try:
            tensor = _tensor(raw)
        except (TypeError, ValueError, RuntimeError):
            raise UsageError(f"{_WANTED}, got {type(raw).__name__}") from None
        dims = 2 if not tensor.is_floating_point() and tensor.dtype != torch.bool else 3
        while tensor.ndim > dims and len(tensor) == 1:
            tensor = tensor[0]
        if tensor.dtype == torch.bool and tensor.ndim == 2:
            tensor = tensor[None]
        is_empty = tensor.dtype != torch.bool and not tensor.numel()
        if tensor.ndim != dims or is_empty:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise UsageError(f"{_WANTED}, got {dtype} {list(tensor.shape)}")
        return cls(raw, tensor.long() if dims == 2 else tensor)

    @property
    def kind(self) -> Kind:
        """Which of these it is."""
        if self.tensor.dtype == torch.bool:
            return "masks"
        return "scores" if self.tensor.is_floating_point() else "labels"

    @property
    def classes(self) -> int:
        """How many channels scores or masks have as scores."""
        return len(self.tensor) + (self.kind == "masks")

    def on_state(self) -> Tensor:
        """It as a network's answer ``[1, ...]``; masks are scores after those of none of them."""
        if self.kind != "masks":
            return self.tensor[None]
        none = ~self.tensor.any(0, keepdim=True)
        return torch.cat([none, self.tensor])[None].float()

    def moved(self, scores: Tensor) -> Any:
        """Scores ``[1, C, h, w]`` of another frame as the function would have answered."""
        size = self.tensor.shape[-2], self.tensor.shape[-1]
        if self.kind == "labels":
            found = ops.upsample_argmax(scores, size, size)[0]
            return self._like_raw(found if self.labels is None else self.labels.of(found))
        full = resize_grid(scores.float(), size)[0]
        return self._like_raw(full[1:] > 0.5 if self.kind == "masks" else full)

    def _like_raw(self, tensor: Tensor) -> Any:
        if isinstance(self.raw, Mapping):
            pairs = zip(self.raw.items(), tensor, strict=True)
            return {name: _like(raw, part) for (name, raw), part in pairs}
        if _are_parts(self.raw):
            parts = [_like(raw, part) for raw, part in zip(self.raw, tensor, strict=True)]
            make = getattr(self.raw, "_make", type(self.raw))  # of a named tuple
            return make(parts)
        return _like(self.raw, tensor)


def _are_parts(raw: Any) -> bool:
    """Whether it is a list of arrays, and not one array as nested lists of numbers."""
    return isinstance(raw, (list, tuple)) and all(hasattr(part, "shape") for part in raw)


def _tensor(raw: Any) -> Tensor:
    parts = list(raw.values()) if isinstance(raw, Mapping) else raw
    if not isinstance(raw, Mapping) and not _are_parts(raw):
        return _whole_tensor(raw)
    if not parts:
        return torch.zeros((0, 1, 1), dtype=torch.bool)
    return torch.stack([_whole_tensor(part) for part in parts])


def _whole_tensor(raw: Any) -> Tensor:
    if isinstance(raw, Tensor):
        return raw
    return torch.as_tensor(np.ascontiguousarray(raw))  # torch takes no negative strides


def _like(raw: Any, tensor: Tensor) -> Any:
    if isinstance(raw, Tensor):
        return tensor.to(raw).view(raw.shape)
    array = tensor.cpu().numpy()
    if not hasattr(raw, "dtype"):
        return array.reshape(np.shape(raw)).tolist()
    return array.astype(raw.dtype, copy=False).reshape(raw.shape)


class FunctionNetwork(ForeignNetwork):
    """A function as a network; ``classes`` None are those of its first answer.

    ``keep`` keeps the answers in ``answers``, for whoever takes them out. Labels may then be any
    whole numbers; else those that are no class count for none.
    ``name`` stands for it where it fails; without a name its errors are raised as they are.
    """

    def __init__(
        self, function: Function, classes: int | None = None, name: str = "", keep: bool = False
    ) -> None:
        super().__init__(classes or 0)
        self._told, self._labels = classes, Labels() if keep else None
        self._function, self._name, self._keep = function, name, keep
        self._primed: Answer | None = None
        self.answers: deque[Answer] = deque()

    def prime(self, frame_bgr: np.ndarray) -> Answer:
        """The answer for the frame that is to come first, which is asked for once."""
        self._primed = answer = self._ask(frame_bgr)
        if answer.labels is not None:
            most = max(self._told or 0, len(answer.labels)) + _SPARE
            self._classes = min(IGNORE_LABEL, most)
        else:
            self._classes = self._told or answer.classes
        return answer

    def answer(self, frame: Tensor) -> Tensor:
        images_bgr = frame.flip(1).permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()
        found = [self._primed or self._ask(np.ascontiguousarray(image)) for image in images_bgr]
        self._primed = None
        if self._keep:
            self.answers.extend(found)
        if found[0].kind == "masks":
            self._classes = found[0].classes
        return torch.cat([answer.on_state() for answer in found])

    def _ask(self, frame_bgr: np.ndarray) -> Answer:
        try:
            answer = Answer.of(self._function(frame_bgr))
        except AccelError:
            raise
        except (Exception, SystemExit) as error:
            if not self._name:
                raise
            raise WeightsError(
                f"{self._name} failed on a frame ({type(error).__name__}: {error})"
            ) from error
        if answer.kind == "masks" and self._told and answer.classes != self._told:
            raise UsageError(
                f"the network answered with {len(answer.tensor)} masks and 'classes' names "
                f"{self._told}: name one more than there are masks, first that of what is in none"
            )
        if answer.kind != "labels":
            return answer
        if self._told:
            tensor = answer.tensor
            beyond = tensor[(tensor >= self._told) | (tensor < 0)]
            if self._labels is not None:  # any number is the label of something, or of nothing
                beyond = beyond[(beyond >= 0) & (beyond != IGNORE_LABEL)]
            if len(beyond):
                raise UsageError(
                    f"the network answered with label {int(beyond.max())}, and its {self._told} "
                    f"classes are 0 to {self._told - 1}: say how many there are by 'classes', and "
                    "give what is none of them a class of its own"
                )
        if self._labels is None:
            return answer
        channels = self._labels.channels(answer.tensor)
        if self._classes and len(self._labels) > self._classes:
            raise UsageError(
                f"the network has answered with {len(self._labels)} different labels, and "
                f"{self._classes} were reckoned with: say how many there are by 'classes'"
            )
        return Answer(answer.raw, channels, self._labels)


def open_function(place: str, told: ClassSet | None = None) -> tuple[FunctionNetwork, ClassSet]:
    """The function ``module:function``; modules of the current folder can be named.

    Its classes are its attribute ``classes``, or that of its module: a number, a list of names, or
    a known class set's name. Without, its scores are counted on a black frame. Those that are
    ``told`` go before.
    Raises :class:`~accel_rt.errors.UsageError` if there is no such function.
    """
    module_name, _, name = place.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, name)
    except Exception as error:  # a module may fail in any way
        raise UsageError(
            f"python:{place} cannot be used ({type(error).__name__}: {error}): name it as "
            f"python:MODULE:FUNCTION"
        ) from error
    full = f"python:{place}"
    own = getattr(function, "classes", getattr(module, "classes", None))
    if own is None and told is None:
        answer = FunctionNetwork(function, name=full).prime(np.zeros((360, 480, 3), np.uint8))
        if answer.kind != "scores":
            raise UsageError(
                f"{full} answers with {answer.kind}: give it an attribute 'classes', the number "
                f"or names of its classes"
            )
        own = answer.classes
    named = None if own is None else class_set(own)
    classes = Place(full, told=told).classes(len(named or ()), named)
    return FunctionNetwork(function, len(classes), full), classes
