"""Sound carried over from the source into the file that is being written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.bitstream import BitStreamFilterContext

from accel_rt.video.container import open_container

# What browsers and players play from each container; other codecs are re-encoded.
_COPIED = {
    ".mp4": {"aac", "mp3", "opus"},
    ".m4v": {"aac", "mp3"},
    ".mov": {"aac", "mp3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"},
    ".mkv": {"aac", "mp3", "opus", "vorbis", "flac", "ac3", "eac3", "pcm_s16le", "pcm_s24le"},
    ".webm": {"opus", "vorbis"},
}
# An edit list hides what a codec needs before time 0; elsewhere it would move the pictures.
_HAS_EDIT_LIST = (".mp4", ".m4v", ".mov")
_REENCODED_TO = {".webm": "libopus"}
_DEFAULT_ENCODER = "aac"
_OPUS_RATE = 48000
_AAC_MAX_RATE = 48000


class AudioTrack:
    """The best audio stream of ``source``, muxed into ``output`` in step with the video.

    Packets are copied where the container takes their codec, else decoded and encoded anew
    (AAC; Opus for WebM). ``copied`` says which.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        source_container: av.container.InputContainer,
        stream: av.AudioStream,
        suffix: str,
    ) -> None:
        self._output = output
        self._input = source_container
        self._in = stream
        self._keeps_priming = suffix in _HAS_EDIT_LIST
        self._time_base = stream.time_base or Fraction(1, av.time_base)
        self.copied = stream.codec_context.name in _COPIED[suffix]
        if self.copied:
            self._out: av.AudioStream = output.add_stream_from_template(stream)
        else:
            encoder = _REENCODED_TO.get(suffix, _DEFAULT_ENCODER)
            rate = _OPUS_RATE
            if encoder == _DEFAULT_ENCODER:
                rate = min(stream.codec_context.sample_rate, _AAC_MAX_RATE)
            self._out = cast(av.AudioStream, output.add_stream(encoder, rate=rate))
            layout = stream.codec_context.layout
            self._out.codec_context.layout = layout if layout.nb_channels in (1, 2) else "stereo"
        # AAC of transport streams says in every packet what an MP4 wants to hear once.
        has_headers = stream.codec_context.name == "aac" and not stream.codec_context.extradata
        strips = self.copied and has_headers and self._keeps_priming
        self._strip = BitStreamFilterContext("aac_adtstoasc", stream) if strips else None
        self._packets: Iterator[av.Packet] = iter(())
        self._pending: av.Packet | None = None
        self._origin = Fraction(0)

    @property
    def start(self) -> Fraction:
        """When the source's sound starts, in seconds of the source's time."""
        return (self._in.start_time or 0) * self._time_base

    def begin(self, origin: Fraction) -> None:
        """Take the sound from ``origin`` on, a time of the source that the output has as 0."""
        self._origin = origin
        if origin > self.start:
            try:
                self._input.seek(math.floor(origin / self._time_base), stream=self._in)
            except (av.FFmpegError, OSError):
                self._input.seek(0)
        self._packets = self._demux()
        self._pending = next(self._packets, None)

    def pump(self, until: Fraction) -> None:
        """Mux the sound that starts before ``until``, in seconds of the output's time."""
        while self._pending is not None:
            time = (self._pending.pts or 0) * self._time_base - self._origin
            if time >= until:
                return
            if time >= 0 or (self._keeps_priming and self._origin <= self.start):
                self._mux(self._pending)
            self._pending = next(self._packets, None)

    def finish(self) -> None:
        """Flush the encoder, where there is one."""
        if not self.copied and self._out.codec_context.is_open:
            self._output.mux(self._out.encode(None))

    def close(self) -> None:
        """Close the source."""
        self._input.close()

    def _demux(self) -> Iterator[av.Packet]:
        """Packets with times, up to the end or to the first thing that cannot be read."""
        try:
            for packet in self._input.demux(self._in):
                if packet.pts is not None and packet.size:
                    yield packet
        except (av.FFmpegError, OSError):
            return

    def _mux(self, packet: av.Packet) -> None:
        shift = round(self._origin / self._time_base)
        if self.copied:
            packet.pts = (packet.pts or 0) - shift
            if packet.dts is not None:
                packet.dts -= shift
            for stripped in self._strip.filter(packet) if self._strip else [packet]:
                stripped.stream = self._out
                self._output.mux(stripped)
            return
        try:
            frames = self._in.decode(packet)
        except av.FFmpegError:
            return  # one damaged packet is a short silence, not the end of the sound
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(self._origin / (frame.time_base or self._time_base))
            self._output.mux(self._out.encode(frame))


def open_audio(
    output: av.container.OutputContainer, source: str | Path, suffix: str
) -> AudioTrack | None:
    """The track of ``source`` for ``output``, or None if the source has no sound."""
    container = open_container(str(source))
    stream = container.streams.best("audio")
    if stream is None:
        container.close()
        return None
    return AudioTrack(output, container, cast(av.AudioStream, stream), suffix)
