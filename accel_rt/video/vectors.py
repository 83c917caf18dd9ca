"""The motion vectors that come with decoded pictures, and whether they can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import av
from av.sidedata.sidedata import SideDataContainer

from accel_rt.flow.motion import Motion, motion_field
from accel_rt.video.h264 import PictureReferences

_NUMBERS = count()


@dataclass(frozen=True)
class _Origin:
    """A packet's number, and that of the one its picture's vectors lead to, if they can be used."""

    picture: int
    since: int | None


class VectorReader:
    """Takes motion vectors from the decoder of an H.264 stream; from others there are none.

    Each packet goes through :meth:`mark` before it is decoded. What is noted of it travels through
    the decoder with its picture, whatever threads or reordering there are.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        context = stream.codec_context
        self._references: PictureReferences | None = None
        self._before: int | None = None
        if context.name == "h264":
            self._references = PictureReferences(context.extradata)
            context.copy_opaque = True
            context.options = {**context.options, "flags2": "+export_mvs"}

    def mark(self, packet: av.Packet) -> None:
        """Note what the packet's own headers say of its vectors."""
        if self._references is None or not packet.size:
            return
        leads = self._references.lead_to_the_picture_before(bytes(packet))
        picture = next(_NUMBERS)
        packet.opaque = _Origin(picture, self._before if leads else None)
        self._before = picture

    def motion(self, frame: av.VideoFrame) -> Motion | None:
        """A picture's motion; None if the stream has none at all.

        Pictures that are shown turned have no vectors. The container of side data is made here
        because a frame that makes it itself keeps itself, and its pixels, alive.
        """
        origin = frame.opaque
        if not isinstance(origin, _Origin):
            return None
        size = frame.height, frame.width
        if origin.since is not None:
            data = SideDataContainer(frame)  # type: ignore[call-arg]
            vectors = data.get("MOTION_VECTORS")
            if vectors is not None and data.get("DISPLAYMATRIX") is None:
                field = motion_field(vectors.to_ndarray(), size)
                return Motion(origin.picture, origin.since, (field,), size)
        return Motion(origin.picture, None, (), size)
