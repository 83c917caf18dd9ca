"""The times of a stream's pictures, put in order: duplicates, disorder, clocks set back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T")

JOIN_S = Fraction(1, 10)
"""A clock set back by more than this, and by more than :data:`_JOIN_STEPS`, has begun anew."""

_JOIN_STEPS = 5
_MAX_HELD = 16


@dataclass
class Timed(Generic[T]):
    """``item`` with its ``time`` (None if unknown) and ``duration``, in seconds."""

    item: T
    time: Fraction | None
    duration: Fraction | None


class PictureClock:
    """Gives pictures times that rise strictly, close to those they came with.

    A picture whose time does not fit between its neighbours (a duplicate, a step back by a few
    frames, a lone jump) is placed between them and counted as ``misplaced``; all others keep
    theirs. Where the clock is set back further and stays there it has begun anew, as in joined
    recordings: the pictures follow on from the ones before, and ``joins`` holds what has been
    added to the source's times since.

    ``start`` is the time of a first picture without one, ``step`` the nominal time between
    pictures, both in seconds.
    """

    def __init__(self, start: Fraction, step: Fraction) -> None:
        self.joins: list[Fraction] = []
        self.misplaced = 0
        self._start, self._step = start, step
        self._most_back = max(JOIN_S, _JOIN_STEPS * step)

    def order(self, pictures: Iterable[Timed[T]]) -> Iterator[Timed[T]]:
        """``pictures`` in the order they come, one behind so that their neighbours are known."""
        held: list[Timed[T]] = []  # a picture with a time, and those after it that need one
        before: Fraction | None = None
        for picture in pictures:
            time = self._shifted(picture)
            if not held:
                held = [replace(picture, time=self._start if time is None else time)]
                continue
            if time is not None and time <= _time(held[0]) and self._has_begun_anew(held):
                *earlier, first = held
                self.joins.append(self._shift + self._end(earlier) - _time(first))
                first.time = self._end(earlier)
                yield from self._spread(earlier, None)
                before, held, time = earlier[-1].time, [first], self._shifted(picture)
            if time is None or (time <= _time(held[0]) and len(held) == _MAX_HELD):
                time = self._end(held)
            elif time <= _time(held[0]):
                if before is None or not self._is_ahead(before, held, time):
                    held.append(replace(picture, time=time))
                    continue
                held[0].time = (before + time) / 2
                self.misplaced += 1
            yield from self._spread(held, time)
            before = held[-1].time
            held = [replace(picture, time=time)]
        yield from self._spread(held, None)

    @property
    def _shift(self) -> Fraction:
        return self.joins[-1] if self.joins else Fraction(0)

    def _shifted(self, picture: Timed[T]) -> Fraction | None:
        return None if picture.time is None else picture.time + self._shift

    def _has_begun_anew(self, held: list[Timed[T]]) -> bool:
        """Whether the last of ``held`` is so far back that a next one there confirms it."""
        return len(held) > 1 and self._end(held[:-1]) - _time(held[-1]) > self._most_back

    def _is_ahead(self, before: Fraction, held: list[Timed[T]], time: Fraction) -> bool:
        """Whether the lone picture held, rather than one at ``time``, jumped ahead."""
        if len(held) > 1 or time <= before:
            return False
        expected = before + self._step
        return abs(time - expected) < abs(_time(held[0]) - expected)

    def _end(self, held: list[Timed[T]]) -> Fraction:
        """When the last of ``held`` ends if they follow each other at the nominal step."""
        return _time(held[0]) + (len(held) - 1) * self._step + (held[-1].duration or self._step)

    def _spread(self, held: list[Timed[T]], until: Fraction | None) -> Iterator[Timed[T]]:
        """Times for all of ``held``, evenly up to ``until``, or a nominal step apart."""
        self.misplaced += max(0, len(held) - 1)
        for number, picture in enumerate(held):
            if number:
                step = self._step if until is None else (until - _time(held[0])) / len(held)
                picture.time = _time(held[0]) + number * step
            yield picture


class DecodingTimes:
    """Times for pictures of containers that store decoding times alone, such as AVI.

    A decoder that sorts its pictures gives each one out once as many others as ``depth`` have
    been read after it: its time is that of the packet so many packets ago.
    """

    def __init__(self) -> None:
        self._times: deque[int] = deque()

    def read(self, time: int | None) -> None:
        """Take the time of a packet that is decoded next."""
        if time is not None:
            self._times.append(time)

    def next(self, depth: int) -> int | None:
        """The time of the picture that came out of the decoder, which holds back ``depth``."""
        while len(self._times) > depth + 1:  # those of pictures that were lost
            self._times.popleft()
        return self._times.popleft() if self._times else None


def _time(picture: Timed[T]) -> Fraction:
    assert picture.time is not None
    return picture.time
