"""What stands behind a foreign network's prefix: ``NAME@WEIGHTS?key=value&key=value``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from accel_rt.class_sets import class_set, known
from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError, WeightsError
from accel_rt.normalise import BYTES, IMAGENET, Normalisation

NORMALISATIONS = {
    "imagenet": IMAGENET,
    "unit": Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "centred": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "bytes": BYTES,
}
"""How frames may be fed: as ImageNet's, in 0..1, in -1..1, in 0..255."""


@dataclass(frozen=True)
class Place:
    """A name and options; ``told`` are classes that go before any other."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    told: ClassSet | None = None

    @classmethod
    def parse(cls, text: str, known_options: Sequence[str], told: ClassSet | None = None) -> Place:
        """Raises :class:`~accel_rt.errors.UsageError` for an option that is not known here."""
        name, _, query = text.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        for option in options:
            if option not in known_options:
                choice = ", ".join(known_options)
                raise UsageError(f"'{text}' has an unknown option '{option}': known are {choice}")
        return cls(name, options, told)

    def file(self) -> Path:
        """The file of that name; raises :class:`~accel_rt.errors.WeightsError` if there is none."""
        path = Path(self.name)
        if not os.path.isfile(path):
            raise WeightsError(f"there is no network file '{path}': check the path")
        return path

    def normalisation(self) -> Normalisation:
        """That of ``normalise``; raises :class:`~accel_rt.errors.UsageError` for an unknown one."""
        name = self.options.get("normalise", "imagenet")
        if name not in NORMALISATIONS:
            choice = ", ".join(NORMALISATIONS)
            raise UsageError(f"unknown normalisation '{name}' of {self.name}: choose from {choice}")
        return NORMALISATIONS[name]

    def classes(self, count: int, told: Sequence[str] | ClassSet | None = None) -> ClassSet:
        """The ``count`` classes, 0 if that is not known: those that the option ``classes`` names (a
        known set, or names with commas), or that the network told, or the known set of so many.

        Raises :class:`~accel_rt.errors.UsageError` if they are not so many, or nothing says them.
        """
        named = self.options.get("classes")
        if named is not None:
            told = known().get(named) or named.split(",")
        told = self.told or told
        if not told and not count:
            raise UsageError(
                f"{self.name} answers with labels and does not say of which classes: name them by "
                f"?classes=NAME,NAME or a known set, such as ?classes=cityscapes"
            )
        found = class_set(told or count)
        if count and len(found) != count:
            raise UsageError(
                f"{self.name} scores {count} classes, and {len(found)} are named: name as many"
            )
        return found
