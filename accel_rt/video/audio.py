"""Sound that is decoded and encoded anew, because the output cannot hold it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np

from accel_rt.video.layouts import packed_frame, packed_samples, with_named_layout
from accel_rt.video.tracks import Track

_ENCODERS = {".webm": "libopus", ".mkv": "libopus"}  # AAC's lead-in has no place in Matroska
_DEFAULT_ENCODER = "aac"
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATE = 48000
_LAYOUTS = {1: "mono", 6: "5.1", 8: "7.1"}  # by the number of channels; else stereo
_BITS_PER_CHANNEL = 96_000
_UNSTEADY_S = 0.05  # times of sound that is continuous differ by less
_SILENCE_S = 10  # longer gaps are left to the times, shorter ones filled
_DECODE_ERRORS = (av.FFmpegError, ValueError, RuntimeError)


@dataclass(frozen=True)
class SoundFormat:
    """What sound is encoded to: an encoder of FFmpeg, samples a second, layout by its name."""

    encoder: str
    rate: int
    layout: str

    @staticmethod
    def near(suffix: str, rate: int, channels: int) -> SoundFormat:
        """The format of a ``suffix`` file for sound of ``rate`` and ``channels``."""
        layout = _LAYOUTS.get(channels, "stereo")
        encoder = _ENCODERS.get(suffix, _DEFAULT_ENCODER)
        if encoder != _DEFAULT_ENCODER:
            return SoundFormat(encoder, _OPUS_RATE, layout)
        return SoundFormat(encoder, next((r for r in _AAC_RATES if r >= rate), 48000), layout)

    def apply(self, context: av.AudioCodecContext) -> None:
        """Set an encoder up."""
        context.sample_rate, context.layout = self.rate, self.layout
        context.bit_rate = _BITS_PER_CHANNEL * context.layout.nb_channels
        context.time_base = Fraction(1, self.rate)


class Normaliser:
    """Decoded frames of any layout, rate and sample format to float samples of one format."""

    def __init__(self, format: SoundFormat) -> None:
        self._format = format
        self._resampler: av.AudioResampler | None = None
        self._source: tuple[str, str, int] | None = None

    def __call__(self, frame: av.AudioFrame) -> np.ndarray:
        """float32 ``[samples, channels]``; raises for frames that nothing is known of."""
        frame = with_named_layout(frame)
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        parts: list[av.AudioFrame] = []
        if self._resampler is None or source != self._source:
            if self._resampler is not None:
                parts += self._resampler.resample(None)
            self._source = source
            self._resampler = av.AudioResampler("flt", self._format.layout, self._format.rate)
        frame.pts = None
        parts += self._resampler.resample(frame)
        channels = av.AudioLayout(self._format.layout).nb_channels
        nothing = np.zeros((0, channels), np.float32)
        return np.concatenate([nothing, *map(packed_samples, parts)])


class EncodedSound(Track):
    """The sound of ``stream``, encoded anew in ``format``; see :class:`Track`.

    Its samples are put where their times say: gaps are filled with silence, what overlaps is cut.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        stream: av.AudioStream,
        format: SoundFormat,
        joins: Sequence[Fraction],
    ) -> None:
        out = cast(av.AudioStream, output.add_stream(format.encoder, rate=format.rate))
        format.apply(out.codec_context)
        super().__init__(output, stream, out, joins)
        self._encoder, self._format = out, format
        self._normalise = Normaliser(format)
        self._waiting = np.zeros((0, out.codec_context.layout.nb_channels), np.float32)
        self._next: int | None = None  # position in the output of the first sample that waits

    def repeats(self, packet: av.Packet, time: Fraction) -> bool:
        return False  # what overlaps is cut to the sample

    def write(self, packet: av.Packet, time: Fraction, origin: Fraction) -> None:
        offset = time - self._time(packet) + self._shift - origin
        try:
            for frame in cast(av.AudioStream, self.stream).decode(packet):
                at = None
                if frame.pts is not None:
                    base = frame.time_base or self._time_base
                    at = round((frame.pts * base + offset) * self._format.rate)
                self._take(self._normalise(frame), at)
        except _DECODE_ERRORS:
            self.lost += 1  # a short silence, not the end of the sound

    def advance(self, until: Fraction) -> None:
        if self._next is not None:
            self._encode(round(until * self._format.rate) - self._next)

    def finish(self) -> None:
        if self._next is not None:
            self._mux(self._encoder.encode(None))

    def _take(self, samples: np.ndarray, at: int | None) -> None:
        """Append ``samples``, of which the first belongs at ``at`` of the output."""
        if self._next is None:
            first = at or 0
            self._waiting = samples[max(-first, 0) :]
            self._next = max(first, 0) if len(self._waiting) else None
            return
        end = self._next + len(self._waiting)
        apart = 0 if at is None else at - end
        if abs(apart) <= _UNSTEADY_S * self._format.rate:
            apart = 0
        if apart > _SILENCE_S * self._format.rate:
            self._encode(len(self._waiting))
            self._next = at
        elif apart > 0:
            samples = np.pad(samples, ((apart, 0), (0, 0)))
        self._waiting = np.concatenate([self._waiting, samples[max(-apart, 0) :]])

    def _encode(self, count: int) -> None:
        """Encode the first ``count`` of the samples that wait, or all there are."""
        samples = self._waiting[: max(count, 0)]
        if not len(samples):
            return
        frame = packed_frame(samples, self._format.layout, self._format.rate)
        frame.pts, frame.time_base = self._next, Fraction(1, self._format.rate)
        self._next = (self._next or 0) + len(samples)
        self._waiting = self._waiting[len(samples) :]
        self._mux(self._encoder.encode(frame))


def open_encoded(
    output: av.container.OutputContainer,
    stream: av.AudioStream,
    joins: Sequence[Fraction],
    packets: Sequence[av.Packet],
    suffix: str,
) -> EncodedSound | None:
    """``stream`` encoded for a ``suffix`` file, or None if it cannot be decoded or encoded.

    Its first ``packets`` are tried beforehand: a stream that turns out not to work later would
    spoil the whole file.
    """
    context = stream.codec_context
    try:
        frames = [frame for packet in packets for frame in _decoded(stream, packet)]
        if packets and not frames:
            return None
        rate = frames[0].sample_rate if frames else context.sample_rate
        channels = (frames[0] if frames else context).layout.nb_channels
        format = SoundFormat.near(suffix, rate, channels)
        if frames:
            Normaliser(format)(frames[0])
        rehearsal = cast(av.AudioCodecContext, av.CodecContext.create(format.encoder, "w"))
        format.apply(rehearsal)
        rehearsal.format = (rehearsal.codec.audio_formats or [])[0]
        rehearsal.open()
        if context.is_open:
            context.flush_buffers()
    except _DECODE_ERRORS:
        return None
    return EncodedSound(output, stream, format, joins)


def _decoded(stream: av.AudioStream, packet: av.Packet) -> list[av.AudioFrame]:
    try:
        return stream.decode(packet)
    except _DECODE_ERRORS:
        return []
