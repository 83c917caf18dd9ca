"""What an H.264 stream's headers say of the pictures that each picture was predicted from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SLICE, _IDR, _SPS, _PPS = 1, 5, 7, 8  # kinds of NAL units
_PARTITIONS = (2, 3, 4)
_P, _I = 0, 2  # slice types, which 5 more says of the whole picture
_WITH_CHROMA_FORMAT = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_SLICE_HEADER_BYTES = 64


@dataclass(frozen=True)
class _Sequence:
    """What of a sequence parameter set is needed to read slice headers."""

    separate_planes: bool
    frame_number_bits: int
    order_type: int
    order_bits: int
    order_is_constant: bool
    frames_only: bool


@dataclass(frozen=True)
class _Pictures:
    """What of a picture parameter set is needed to read slice headers."""

    sequence: int
    order_in_slices: bool
    groups: int
    references: int
    redundant: bool


@dataclass(frozen=True)
class _Picture:
    """A picture as its slices describe it; ``plain`` if all that was predicted has one source."""

    number: int
    kept: bool
    plain: bool
    numbers: int


class PictureReferences:
    """Tells pictures that were predicted from the picture decoded just before, and from no other.

    That is so if every slice is of type P or I with one active reference, in the standard's own
    order, the picture before it is kept for reference, and none is missing between. It is told of
    each picture by itself, so that a stream may change. ``header`` is the stream's extradata.
    """

    def __init__(self, header: bytes | None) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, _Pictures] = {}
        self._before: _Picture | None = None
        self._length_bytes = 0
        if header and header[0] == 1 and len(header) > 6:
            self._length_bytes = (header[4] & 3) + 1
            units = _units_of_avcc(header)
        else:
            units = _units(header or b"", 0)
        try:
            for unit in units:
                self._take_parameters(unit)
        except ValueError:
            return

    def lead_to_the_picture_before(self, packet: bytes) -> bool:
        """Whether this is so of the picture in ``packet``, which is decoded after the last."""
        try:
            picture = self._read(packet)
        except (ValueError, KeyError):  # damaged, or not seen from its beginning
            picture = None
        before, self._before = self._before, picture
        if picture is None or before is None or not (picture.plain and before.kept):
            return False
        return picture.number == (before.number + 1) % picture.numbers

    def _read(self, packet: bytes) -> _Picture | None:
        found: _Picture | None = None
        for unit in _units(packet, self._length_bytes):
            kind = unit[0] & 31
            if kind in _PARTITIONS:
                return None
            if kind in (_SLICE, _IDR):
                one = self._read_slice(unit)
                plain = one.plain and (found is None or found.plain)
                found = _Picture(one.number, one.kept, plain, one.numbers)
            else:
                self._take_parameters(unit)
        return found

    def _take_parameters(self, unit: bytes) -> None:
        kind = unit[0] & 31
        if kind == _SPS:
            number, sequence = _read_sequence(_Bits(unit[1:]))
            self._sequences[number] = sequence
        elif kind == _PPS:
            number, pictures = _read_pictures(_Bits(unit[1:]))
            self._pictures[number] = pictures

    def _read_slice(self, unit: bytes) -> _Picture:
        bits = _Bits(unit[1:_SLICE_HEADER_BYTES])
        bits.unsigned()  # its first macroblock
        kind = bits.unsigned() % 5
        pictures = self._pictures[bits.unsigned()]
        sequence = self._sequences[pictures.sequence]
        if sequence.separate_planes:
            bits.read(2)
        number = bits.read(sequence.frame_number_bits)
        kept, numbers = bool(unit[0] & 0x60), 1 << sequence.frame_number_bits
        if kind == _I and sequence.frames_only:
            return _Picture(number, kept, True, numbers)
        if kind != _P or not sequence.frames_only or pictures.groups > 1:
            return _Picture(number, kept, False, numbers)
        if unit[0] & 31 == _IDR:
            bits.unsigned()
        if sequence.order_type == 0:
            bits.read(sequence.order_bits)
            if pictures.order_in_slices:
                bits.signed()
        elif sequence.order_type == 1 and not sequence.order_is_constant:
            bits.signed()
            if pictures.order_in_slices:
                bits.signed()
        if pictures.redundant:
            bits.unsigned()
        references = bits.unsigned() + 1 if bits.read(1) else pictures.references
        reordered = bits.read(1)
        return _Picture(number, kept, references == 1 and not reordered, numbers)


class _Bits:
    """Reads a unit's payload bit by bit; :class:`ValueError` after its end."""

    def __init__(self, payload: bytes) -> None:
        payload = payload.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def read(self, bits: int) -> int:
        if bits > self._left:
            raise ValueError("the unit ends")
        self._left -= bits
        return (self._value >> self._left) & ((1 << bits) - 1)

    def unsigned(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("no Exp-Golomb code")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _read_sequence(bits: _Bits) -> tuple[int, _Sequence]:
    profile = bits.read(8)
    bits.read(16)
    number = bits.unsigned()
    separate = False
    if profile in _WITH_CHROMA_FORMAT:
        chroma = bits.unsigned()
        separate = chroma == 3 and bool(bits.read(1))
        bits.unsigned()
        bits.unsigned()
        bits.read(1)
        if bits.read(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_number_bits = bits.unsigned() + 4
    order_type = bits.unsigned()
    order_bits, constant = 0, False
    if order_type == 0:
        order_bits = bits.unsigned() + 4
    elif order_type == 1:
        constant = bool(bits.read(1))
        bits.signed()
        bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    bits.unsigned()  # how many references may be kept
    bits.read(1)
    bits.unsigned()
    bits.unsigned()
    frames_only = bool(bits.read(1))
    if frame_number_bits > 16:
        raise ValueError("no sequence parameter set")
    return number, _Sequence(
        separate, frame_number_bits, order_type, order_bits, constant, frames_only
    )


def _skip_scaling_list(bits: _Bits, length: int) -> None:
    last = following = 8
    for _ in range(length):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _read_pictures(bits: _Bits) -> tuple[int, _Pictures]:
    number, sequence = bits.unsigned(), bits.unsigned()
    bits.read(1)
    in_slices = bool(bits.read(1))
    groups = bits.unsigned() + 1
    if groups > 1:  # what follows is not needed: such pictures are not relied on
        return number, _Pictures(sequence, in_slices, groups, 0, False)
    references = bits.unsigned() + 1
    bits.unsigned()
    bits.read(3)
    for _ in range(3):
        bits.signed()
    bits.read(2)
    return number, _Pictures(sequence, in_slices, groups, references, bool(bits.read(1)))


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet: after their lengths, or after start codes (Annex B) for 0."""
    if not length_bytes:
        for unit in data.split(b"\0\0\1")[1:]:
            if unit:
                yield unit
        return
    at = 0
    while at + length_bytes < len(data):
        begin = at + length_bytes
        at = begin + int.from_bytes(data[at:begin], "big")
        if at > len(data) or at == begin:
            raise ValueError("a unit is longer than its packet, or empty")
        yield data[begin:at]


def _units_of_avcc(header: bytes) -> Iterator[bytes]:
    """The parameter sets of an ``avcC`` box."""
    at = 5
    for mask in (31, 255):
        if at >= len(header):
            return
        count = header[at] & mask
        at += 1
        for _ in range(count):
            length = int.from_bytes(header[at : at + 2], "big")
            unit = header[at + 2 : at + 2 + length]
            if unit:
                yield unit
            at += 2 + length
