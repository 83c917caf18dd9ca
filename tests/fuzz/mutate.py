"""Seeded mutations: of bytes, with a sense of a format's parts, and of trees such as JSON."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.fuzz.parts import borders

_NUMBERS = (0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_NUMBERS += (0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF)
_TEXTS = (b"\x1b[2J\x1b]0;x\x07", b"\xff\xfe\xc3\x28", b"10^99999999", b"1/0", b"nan", b"-inf")
_TEXTS += (b"../../../etc", b"%s%n%x", b"http://127.0.0.1:1/", b"99:99:1e99999999")
_HEADER = 24  # bytes at the beginning of a part in which its sizes, times and kinds stand
_VALUES = (None, True, -1, 0, 1, 255, 2**31, 2**63, 10**400, 0.5, 1e308, math.nan, -math.inf)
_VALUES += ("", "x", "x" * 500, "\x1b[2J", "\udcff", "../x", [], {}, [[]], [None], {"a": 1})


def _flip_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 40))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set_number(data: bytearray, random: Random) -> None:
    at = random.choice(borders(data)) + random.randrange(_HEADER)
    width = random.choice((1, 2, 4, 4, 8))
    number = random.choice(_NUMBERS)
    if random.random() < 0.3:  # near what was there
        number = int.from_bytes(data[at : at + width], "big") + random.choice((-8, -1, 1, 8, 400))
    order = random.choice(("big", "big", "little"))
    data[at : at + width] = (number & (1 << 8 * width) - 1).to_bytes(width, order)


def _truncate(data: bytearray, random: Random) -> None:
    at = random.choice(borders(data)) + random.choice((0, 0, 1, 4, 8, 9))
    if random.random() < 0.3:
        at = random.randrange(len(data))
    del data[max(at, 1) :]


def _part(data: bytearray, random: Random) -> slice:
    """A part, or a few in a row."""
    found = [*borders(data), len(data)]
    first = random.randrange(len(found) - 1)
    return slice(found[first], found[min(first + random.choice((1, 1, 2, 5)), len(found) - 1)])


def _remove_part(data: bytearray, random: Random) -> None:
    part = _part(data, random)
    if part.stop - part.start < len(data):
        del data[part]


def _repeat_part(data: bytearray, random: Random) -> None:
    part = data[_part(data, random)]
    at = random.choice([*borders(data), len(data)])
    data[at:at] = part * random.choice((1, 1, 3))


def _overwrite(data: bytearray, random: Random) -> None:
    at, length = random.randrange(len(data)), random.choice((4, 16, 64, 512))
    length = min(length, len(data) - at)
    data[at : at + length] = random.choice((bytes(length), random.randbytes(length)))


def _change_text(data: bytearray, random: Random) -> None:
    found = list(re.finditer(rb"[\x20-\x7e]{4,}", data))
    if not found:
        return
    run, text = random.choice(found), random.choice(_TEXTS)
    data[run.start() : run.start() + len(text)] = text[: len(data) - run.start()]


def _join(data: bytearray, random: Random) -> None:
    data += data[random.choice((0, random.choice(borders(data)))) :]


_BYTES: dict[Callable[[bytearray, Random], None], int] = {
    _flip_bits: 3,
    _set_number: 6,
    _truncate: 2,
    _remove_part: 2,
    _repeat_part: 2,
    _overwrite: 2,
    _change_text: 2,
    _join: 1,
}


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """``data`` with one to three faults: bits, numbers, texts, parts that go or come twice."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        (mutation,) = random.choices(list(_BYTES), list(_BYTES.values()))
        mutation(changed, random)
    return bytes(changed)


def mutate_tree(tree: Any, random: Random, values: tuple[Any, ...] = ()) -> Any:
    """A copy of nested lists and dictionaries with one to three entries changed, gone or added.

    ``values`` are what entries become beside the usual strange ones.
    """
    root = [copy.deepcopy(tree)]
    for _ in range(random.choice((1, 1, 2, 3))):
        holder, key = random.choice(list(_places(root)))
        choice = random.random()
        if choice < 0.2 and holder is not root:
            del holder[key]
        elif choice < 0.3 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif choice < 0.4 and isinstance(holder, dict):
            holder["unheard of"] = holder[key]
        else:
            holder[key] = copy.deepcopy(random.choice((*_VALUES, *values)))
    return root[0]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every ``(holder, key)`` in nested lists and dictionaries."""
    if isinstance(tree, (list, dict)):
        for key in list(tree if isinstance(tree, dict) else range(len(tree))):
            yield tree, key
            yield from _places(tree[key])
