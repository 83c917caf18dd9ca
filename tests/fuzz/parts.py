"""Where the parts of a file begin: boxes, elements, chunks, packets, pages and start codes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"edts", b"dinf", b"ilst")
_BOXES += (b"moof", b"traf", b"mvex")
# Segment, Cluster, Tracks, TrackEntry, Info, Tags, Tag, SimpleTag, Chapters, EditionEntry,
# ChapterAtom, BlockGroup, Video, Audio: Matroska's elements that hold others
_ELEMENTS = {0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0x1549A966, 0x1254C367, 0x7373, 0x67C8}
_ELEMENTS |= {0x1043A770, 0x45B9, 0xB6, 0xA0, 0xE0, 0xE1}
_TS_PACKET = 188
# of the formats whose parts are known by how they begin
_MARKS = {
    b"OggS": re.compile(rb"OggS"),
    b"PK": re.compile(rb"PK[\x01-\x06]{2}"),
    b"GIF8": re.compile(rb"[\x21\x2c]"),
    b"\xff\xd8": re.compile(rb"\xff[\xc0-\xfe]"),
    b"\0\0\0\1": re.compile(b"\0\0\x01"),
    b"\0\0\1": re.compile(b"\0\0\x01"),
    b"FLV": re.compile(rb"[\x08\x09\x12]\0"),
}


def borders(data: bytes) -> list[int]:
    """Offsets of ``data``'s parts by its format; those of its header where none is known."""
    if data[4:8] == b"ftyp":
        found = list(_boxes(data, 0, len(data)))
    elif data[:4] == b"\x1a\x45\xdf\xa3":
        found = list(_elements(data, 0, len(data)))
    elif data[:4] == b"RIFF":
        found = list(_chunks(data, 12, len(data)))
    elif data[:4] == b"\x89PNG":
        found = list(_png_chunks(data))
    elif data[:1] == b"G" == data[_TS_PACKET : _TS_PACKET + 1]:
        found = list(range(0, len(data), _TS_PACKET))
    else:
        pattern = next((p for mark, p in _MARKS.items() if data.startswith(mark)), None)
        found = [match.start() for match in pattern.finditer(data)] if pattern else []
    return found or list(range(0, min(len(data), 256), 8)) or [0]


def _boxes(data: bytes, at: int, end: int) -> Iterator[int]:
    while at + 8 <= end:
        yield at
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if name in _BOXES:
            yield from _boxes(data, at + 8, min(at + size, end))
        elif name == b"meta":
            yield from _boxes(data, at + 12, min(at + size, end))
        at += max(size, 8)


def _number(data: bytes, at: int, keep_mark: bool) -> tuple[int, int]:
    """A number of variable length at ``at``, and where it ends."""
    length = 9 - data[at].bit_length() if data[at] else 8
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_mark else value & ~(1 << 7 * length)), at + length


def _elements(data: bytes, at: int, end: int) -> Iterator[int]:
    while at + 2 <= end:
        yield at
        name, size_at = _number(data, at, keep_mark=True)
        if size_at >= end:
            return
        size, begin = _number(data, size_at, keep_mark=False)
        if name in _ELEMENTS:
            yield from _elements(data, begin, min(begin + size, end))
        at = begin + size


def _chunks(data: bytes, at: int, end: int) -> Iterator[int]:
    while at + 8 <= end:
        yield at
        name, size = struct.unpack("<4sI", data[at : at + 8])
        if name == b"LIST":
            yield from _chunks(data, at + 12, min(at + 8 + size, end))
        at += 8 + size + size % 2


def _png_chunks(data: bytes) -> Iterator[int]:
    at = 8
    while at + 8 <= len(data):
        yield at
        at += 12 + int.from_bytes(data[at : at + 4], "big")
