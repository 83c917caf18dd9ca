"""Sound, subtitles and chapters: kept where they can be, and never at the video's cost."""

from __future__ import annotations

import http.server
import io
import re
import subprocess
import sys
import threading
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest

from accel_rt.video.layouts import layout_name
from accel_rt.video.reader import open_source
from accel_rt.video.tracks import Track
from accel_rt.video.writer import VideoWriter
from tests.video.clips import RATE, boxes, picture, probe, write_clip

BEEP_S = 0.4
VIDEO_CODECS = {".avi": "mpeg4", ".wmv": "wmv2", ".webm": "libvpx", ".ts": "mpeg2video"}


def ffmpeg(*arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def talkie(path, codec, rate=48000, layout="mono", seconds=0.8, beep_s=BEEP_S):
    """Numbered pictures and, by FFmpeg's own program, sound in ``codec`` with a beep."""
    pictures = write_clip(
        path.with_suffix(".pictures.mkv"), [n / RATE for n in range(round(seconds * 25))]
    )
    wave = f"if(between(t\\,{beep_s}\\,{beep_s + 0.2})\\,0.5*sin(5529*t)\\,0)"
    channels = av.AudioLayout(layout).nb_channels
    sound = f"aevalsrc={'|'.join([wave] * channels)}:s={rate}:d={seconds}:c={layout}"
    video = ["-c:v", VIDEO_CODECS.get(path.suffix, "libx264"), "-g", 5, "-bf", 0]
    inputs = ["-i", pictures, "-f", "lavfi", "-i", sound, "-map", "0:v", "-map", "1:a"]
    ffmpeg(*inputs, *video, "-c:a", codec, "-ar", rate, "-strict", -2, path)
    return path


def segmented(source, target, **options):
    """``source`` through the reader and the writer; the notes of both, without joins."""
    span = {key: options[key] for key in ("start_s", "end_s") if key in options}
    with open_source(source, **span) as frames:
        info = frames.info
        size = (info.height, info.width)
        with VideoWriter(target, size, info.rate, tracks_from=frames, **options) as writer:
            for frame in frames:
                writer.write(frame.image_bgr, frame.pts, frame.duration)
    return [*frames.notes, *writer.notes]


def beep_of(path):
    """When the sound of ``path`` grows loud and when its pictures start, in seconds."""
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        to_mono = av.AudioResampler("flt", "mono", 48000)
        for frame in container.decode(audio=0):
            at = frame.time
            for part in to_mono.resample(frame):
                loud = np.flatnonzero(np.abs(part.to_ndarray()) > 0.15)
                if len(loud):
                    return at + loud[0] / 48000 - start
    return None


@pytest.mark.parametrize(("start_s", "beep_s"), [(0.5, 1.0), (3.9, 2.6), (4.5, 2.0)])
def test_sound_of_a_span_of_joined_recordings_stays_with_its_pictures(tmp_path, start_s, beep_s):
    parts = [
        talkie(tmp_path / f"{at}.ts", "aac", seconds=4, beep_s=at).read_bytes() for at in (1.5, 2.5)
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    segmented(tmp_path / "joined.ts", tmp_path / "out.mp4", start_s=start_s)
    assert beep_of(tmp_path / "out.mp4") == pytest.approx(beep_s, abs=0.05)


REENCODED = ["the sound was re-encoded to fit mp4"]


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "layout"),
    [
        (".avi", "pcm_s16le", 16000, "mono"),
        (".avi", "pcm_s16le", 11024, "stereo"),
        (".avi", "pcm_u8", 8000, "mono"),
        (".avi", "pcm_f32le", 48000, "5.1"),
        (".avi", "adpcm_ms", 22050, "stereo"),
        (".avi", "adpcm_ima_wav", 44100, "mono"),
        (".avi", "ac3", 48000, "stereo"),
        (".avi", "wmav2", 44100, "stereo"),
        (".wmv", "wmav2", 44100, "stereo"),
        (".mkv", "pcm_mulaw", 8000, "mono"),
        (".mkv", "pcm_alaw", 8000, "mono"),
        (".mkv", "pcm_s24le", 96000, "2.1"),
        (".mkv", "pcm_f64le", 12345, "mono"),
        (".mkv", "wavpack", 48000, "7.1"),
        (".mkv", "truehd", 48000, "5.1"),
        (".mov", "pcm_s16be", 48000, "quad"),
        (".mov", "pcm_s32le", 192000, "stereo"),
        (".mov", "adpcm_ima_qt", 44100, "mono"),
        (".ts", "mp2", 48000, "stereo"),
        (".ts", "s302m", 48000, "stereo"),
        (".webm", "libvorbis", 48000, "6.1"),
    ],
)
def test_sound_that_an_mp4_does_not_take_is_encoded_anew(tmp_path, suffix, codec, rate, layout):
    source = talkie(tmp_path / f"in{suffix}", codec, rate, layout)
    notes = segmented(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == 20
        assert container.streams.audio[0].codec_context.name == "aac"
    assert notes == REENCODED
    assert beep_of(tmp_path / "out.mp4") == pytest.approx(beep_of(source), abs=0.03)


@pytest.mark.parametrize(
    ("source", "codec", "target", "expected"),
    [
        (".avi", "libmp3lame", ".mp4", "mp3"),
        (".avi", "aac", ".mp4", "aac"),
        (".ts", "aac", ".mp4", "aac"),
        (".ts", "aac", ".mkv", "aac"),
        (".avi", "pcm_s16le", ".mkv", "pcm_s16le"),
        (".mov", "pcm_s16be", ".mov", "pcm_s16be"),
        (".mkv", "flac", ".mp4", "flac"),
        (".webm", "libopus", ".webm", "opus"),
        (".ts", "ac3", ".mov", "ac3"),
    ],
)
def test_sound_is_copied_where_the_output_takes_it(tmp_path, source, codec, target, expected):
    path = talkie(tmp_path / f"in{source}", codec, layout="stereo")
    out = tmp_path / f"out{target}"
    notes = segmented(path, out, codec="vp9" if target == ".webm" else "h264")
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected
    assert notes == []
    assert beep_of(out) == pytest.approx(beep_of(path), abs=0.03)


def test_a_mov_with_sound_of_a_high_rate_is_an_ordinary_file(tmp_path):
    path = talkie(tmp_path / "in.mov", "pcm_s24le", 96000)
    assert segmented(path, tmp_path / "out.mov") == []
    assert "moof" not in boxes(tmp_path / "out.mov")


def test_layouts_with_an_order_of_their_own_do_not_end_the_process(tmp_path):
    """As in ProRes masters. In a process of its own: what this guards against kills it."""
    source = talkie(tmp_path / "in.mov", "pcm_s16le", 48000, "7.1")
    order = "channelmap=channel_layout=FL+FR+FC+LFE+SL+SR+BL+BR"
    odd = tmp_path / "odd.mov"
    ffmpeg("-i", source, "-c:v", "copy", "-af", order, "-c:a", "pcm_s16le", odd)
    program = (
        "import sys; from tests.video.test_side_tracks import segmented\n"
        "for name in sys.argv[2:]: print(segmented(sys.argv[1], name))"
    )
    outputs = [str(tmp_path / name) for name in ("out.mp4", "out.mov", "out.mkv")]
    result = subprocess.run(
        [sys.executable, "-c", program, str(odd), *outputs], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(REENCODED), "[]", "[]"]
    assert beep_of(tmp_path / "out.mp4") == pytest.approx(BEEP_S, abs=0.03)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("stereo", "stereo"),
        ("5.1(side)", "5.1(side)"),
        ("1 channels", "mono"),
        ("6 channels", "5.1"),
        ("8 channels (FL+FR+FC+LFE+SL+SR+BL+BR)", "7.1"),
        ("12 channels", "12 channels"),
    ],
)
def test_layouts_are_named(text, name):
    assert layout_name(text) == name


def test_sound_that_no_decoder_knows_is_left_out(tmp_path):
    path = write_clip(tmp_path / "in.mp4", audio_s=0.8)
    data = bytearray(path.read_bytes())
    entry = data.index(b"mp4a", data.index(b"stsd", data.index(b"stsd") + 4))
    data[entry : entry + 4] = b"apac"
    esds = data.index(b"esds", entry)
    data[esds : esds + 4] = b"free"
    path.write_bytes(data)
    notes = segmented(path, tmp_path / "out.mp4")
    assert notes == ["left out of the mp4: sound (of an unknown kind)"]
    assert len(probe(tmp_path / "out.mp4").times) == 20


def test_sound_may_change_its_layout_on_the_way(tmp_path):
    parts = [
        talkie(tmp_path / f"{layout}.ts", "mp2", 48000, layout).read_bytes()
        for layout in ("mono", "stereo")
    ]
    (tmp_path / "in.ts").write_bytes(b"".join(parts))
    notes = segmented(tmp_path / "in.ts", tmp_path / "out.mp4")
    found = probe(tmp_path / "out.mp4")
    assert len(found.times) == 40
    assert found.audio_end_s == pytest.approx(1.6, abs=0.1)
    assert REENCODED[0] in notes
    assert not any("left out" in note for note in notes)


@pytest.mark.parametrize(("codec", "suffix"), [("aac", ".mp4"), ("ac3", ".mp4"), ("aac", ".mkv")])
def test_joined_recordings_stay_in_step(tmp_path, codec, suffix):
    part = talkie(tmp_path / "part.ts", codec, seconds=1.6).read_bytes()
    (tmp_path / "in.ts").write_bytes(part + part)
    out = tmp_path / f"out{suffix}"
    segmented(tmp_path / "in.ts", out)
    with av.open(str(out)) as container:
        loud = [
            frame.time
            for frame in container.decode(audio=0)
            if np.abs(frame.to_ndarray()).max() > 0.15
        ]
    with av.open(str(out)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 80
    second = min(time for time in loud if time > 1.5)
    assert second - loud[0] == pytest.approx(times[40] - times[0], abs=0.05)


def move_block(path, number, by_ms):
    """Change the time of a Matroska file's block ``number`` of the second track."""
    data = bytearray(path.read_bytes())
    block = rb"\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x82(..)\x80"
    at = list(re.finditer(block, data, re.DOTALL))[number].start(1)
    moved = int.from_bytes(data[at : at + 2], "big", signed=True) + by_ms
    data[at : at + 2] = moved.to_bytes(2, "big", signed=True)
    path.write_bytes(data)


def test_a_jump_of_the_sound_costs_a_packet_alone(tmp_path):
    """One block of a Matroska file has a time of 20 s later."""
    path = talkie(tmp_path / "in.mkv", "libmp3lame")
    move_block(path, 20, 20_000)
    notes = segmented(path, tmp_path / "out.mp4")
    found = probe(tmp_path / "out.mp4")
    assert len(found.times) == 20
    assert found.beep_s == pytest.approx(BEEP_S, abs=0.03)
    assert found.audio_end_s == pytest.approx(0.8, abs=0.06)
    assert notes == [
        "left out: 1 packet of the sound (mp3) that repeated a time or could not be read"
    ]


def placed(times_ms, joins=(), shown=None):
    """What becomes of packets of 20 ms of an MP3 at ``times_ms``: their times, None: left out."""
    found = []
    with av.open(io.BytesIO(), "w", format="matroska") as output:
        stream = output.add_stream("libmp3lame", rate=48000)
        stream.time_base = Fraction(1, 1000)
        track = Track(output, stream, stream, joins)
        track._mux = lambda packets: None
        for time_ms in times_ms:
            packet = av.Packet(b"sound")
            packet.pts = packet.dts = time_ms
            packet.duration, packet.time_base = 20, Fraction(1, 1000)
            time = track.place(packet, shown)
            if time is None:
                return [*found, "waits"]
            if track.repeats(packet, time):
                found.append(None)
            else:
                track.passes(packet, time, taken=True)
                track.write(packet, time, Fraction(0))
                found.append(round(time * 1000))
    return found


@pytest.mark.parametrize(
    ("times_ms", "joins", "expected"),
    [
        ([0, 20, 40, 60], [], [0, 20, 40, 60]),
        ([40, 60, 80, 20, 40, 60, 80, 100], [], [40, 60, 80, None, None, None, None, 100]),
        ([400, 420, 440, 380, 460, 480], [], [400, 420, 440, None, 460, 480]),
        ([0, 21, 39, 61], [], [0, 21, 39, 61]),
        ([3000, 3020, 0, 20], [], [3000, 3020, 3040, 3060]),
        ([3000, 3020, 0, 20], [Fraction(31, 10)], [3000, 3020, 3100, 3120]),
        (
            [300, 320, 0, 20],
            [Fraction(3, 10)],
            [
                300,
                320,
                None,
                None,
            ],
        ),
    ],
)
def test_times_of_sound_are_mended_before_the_muxer(times_ms, joins, expected):
    assert placed(times_ms, joins) == expected


def test_sound_waits_for_the_pictures_where_both_may_begin_anew():
    assert placed([3000, 3020, 0], shown=Fraction(303, 100)) == [3000, 3020, "waits"]
    assert placed([3000, 3020, 0], shown=Fraction(405, 100)) == [3000, 3020, 3040]


def test_a_packet_that_the_muxer_refuses_is_left_out(tmp_path, monkeypatch):
    refused = []

    def refuse_some(self, packets):
        if len(refused) < 3:
            refused.extend(packets)
            packets[0].pts = packets[0].dts = -(1 << 62)
        mux(self, packets)

    mux = Track._mux
    monkeypatch.setattr(Track, "_mux", refuse_some)
    source = write_clip(tmp_path / "in.mp4", audio_s=0.8)
    segmented(source, tmp_path / "out.mp4")
    assert len(probe(tmp_path / "out.mp4").times) == 20


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Two sounds, two subtitles and two chapters, as an MKV and as an MP4."""
    folder = tmp_path_factory.mktemp("rich")
    clip = write_clip(folder / "clip.mp4", [n / RATE for n in range(75)], audio_s=3)
    text = "1\n00:00:00,500 --> 00:00:01,200\nHello\n\n2\n00:00:01,800 --> 00:00:02,500\nWorld\n"
    (folder / "in.srt").write_text(text)
    (folder / "in.txt").write_text(
        ";FFMETADATA1\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3000\ntitle=two\n"
    )
    inputs = ["-i", clip, "-i", folder / "in.srt", "-i", folder / "in.txt", "-map_metadata", 2]
    maps = ["-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", 1, "-c:v", "copy"]
    tags = ["-c:a:0", "copy", "-c:a:1", "ac3", "-metadata:s:a:1", "language=fra"]
    ffmpeg(*inputs, *maps, *tags, "-c:s", "mov_text", folder / "in.mp4")
    ffmpeg(*inputs, *maps, "-map", 1, *tags, "-c:s:0", "srt", "-c:s:1", "ass", folder / "in.mkv")
    return folder


def tracks_of(path):
    """(codec, language) of each sound and subtitle, subtitles' (start, end), chapters."""
    with av.open(str(path)) as container:
        beside = [s for s in container.streams if s.type in ("audio", "subtitle")]
        kinds = [s.codec_context.codec.canonical_name for s in beside]
        languages = [s.language for s in beside if s.type == "audio"]
        chapters = [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]))
            for c in container.chapters()
        ]
        texts = []
        if container.streams.subtitles:
            for packet in container.demux(subtitles=0):
                if packet.size > 2:
                    start = packet.pts * packet.time_base
                    texts.append((float(start), float(start + packet.duration * packet.time_base)))
    return kinds, languages, texts, chapters


@pytest.mark.parametrize(
    ("source", "target", "kinds", "left_out"),
    [
        ("in.mp4", "out.mp4", ["aac", "aac", "mov_text"], ""),
        ("in.mp4", "out.mov", ["aac", "ac3", "mov_text"], ""),
        ("in.mp4", "out.mkv", ["aac", "ac3"], "subtitles (mov_text)"),
        ("in.mkv", "out.mkv", ["aac", "ac3", "subrip", "ass"], ""),
        ("in.mkv", "out.mp4", ["aac", "aac"], "subtitles (subrip), subtitles (ass)"),
    ],
)
def test_all_that_the_output_takes_is_kept(tmp_path, rich, source, target, kinds, left_out):
    notes = segmented(rich / source, tmp_path / target)
    found, languages, texts, chapters = tracks_of(tmp_path / target)
    assert found == kinds
    assert languages[1] == "fra"
    assert chapters == [(0, 1.5), (1.5, 3)]
    if len(kinds) > 2:
        assert texts == pytest.approx(np.array([(0.5, 1.2), (1.8, 2.5)]), abs=2e-3)
    assert [note for note in notes if "left out" in note] == (
        [f"left out of the {target[4:]}: {left_out}"] if left_out else []
    )
    assert not any("seeking" in note for note in notes)


@pytest.mark.parametrize(("source", "target"), [("in.mp4", "out.mp4"), ("in.mkv", "out.mkv")])
def test_subtitles_and_chapters_follow_the_span(tmp_path, rich, source, target):
    segmented(rich / source, tmp_path / target, start_s=1.0, end_s=2.2)
    _, _, texts, chapters = tracks_of(tmp_path / target)
    assert texts == pytest.approx(np.array([(0, 0.2), (0.8, 1.2)]), abs=2e-3)
    assert chapters == [(0, 0.5), (0.5, 1.2)]
    with av.open(str(tmp_path / target)) as container:
        assert container.duration == pytest.approx(1_200_000, abs=50_000)
        assert next(container.decode(video=0)).time == pytest.approx(0, abs=2e-3)


def test_tracks_that_lie_in_blocks_are_whole_up_to_the_end(tmp_path, rich):
    blocks = {"max_interleave_delta": "1"}  # packets lie as they are given
    with (
        av.open(str(rich / "in.mp4")) as source,
        av.open(str(tmp_path / "in.mkv"), "w", options=blocks) as target,
    ):
        streams = [s for s in source.streams if s.type in ("video", "audio")]
        outs = {s.index: target.add_stream_from_template(s) for s in streams}
        packets = [packet for packet in source.demux(streams) if packet.size]
        half = Fraction(1, 2)
        for packet in sorted(packets, key=lambda p: (p.dts * p.time_base // half, p.stream.index)):
            packet.stream = outs[packet.stream.index]
            target.mux(packet)
    segmented(tmp_path / "in.mkv", tmp_path / "out.mkv", end_s=2.3)
    with av.open(str(tmp_path / "out.mkv")) as container:
        ends = {}
        for packet in container.demux(container.streams.audio):
            if packet.size:
                ends[packet.stream.index] = float((packet.pts + packet.duration) * packet.time_base)
    assert list(ends.values()) == pytest.approx([2.3, 2.3], abs=0.05)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [(".avi", "pcm_s16le", 16000), (".mkv", "pcm_mulaw", 8000), (".flv", "aac", 44100)],
)
@pytest.mark.parametrize("start_s", [0.16, 0.36, 1.24])
def test_sound_stays_in_step_from_anywhere_on(tmp_path, suffix, codec, rate, start_s):
    source = talkie(tmp_path / f"in{suffix}", codec, rate, seconds=1.8, beep_s=start_s + 0.2)
    apart = beep_of(source) - start_s
    segmented(source, tmp_path / "out.mp4", start_s=start_s)
    assert beep_of(tmp_path / "out.mp4") == pytest.approx(apart, abs=0.025)


def test_sound_can_be_left_out(tmp_path, rich):
    segmented(rich / "in.mkv", tmp_path / "out.mkv", sound=False)
    assert tracks_of(tmp_path / "out.mkv")[0] == ["subrip", "ass"]


def test_titles_need_not_be_utf8(tmp_path):
    path = write_clip(tmp_path / "in.mp4", audio_s=0.8)
    named = tmp_path / "named.mp4"
    ffmpeg("-i", path, "-c", "copy", "-metadata", "title=cafe", named)
    named.write_bytes(named.read_bytes().replace(b"cafe", b"caf\xe9"))
    assert segmented(named, tmp_path / "out.mp4") == []
    assert probe(tmp_path / "out.mp4").audio_codec == "aac"


class Unmeasured(http.server.BaseHTTPRequestHandler):
    """Sends ``clip`` without saying how long it is, or, if ``live``, never the same twice."""

    clip = b""
    live = False
    served = 0

    def do_GET(self):
        type(self).served += 1
        self.send_response(200)
        self.end_headers()
        data = bytearray(self.clip)
        if self.live:
            at = data.index(b"x264 - core")  # a remark of the encoder in the first picture
            data[at] = ord("0") + self.served
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("live", [False, True])
def test_sound_of_a_url_without_a_length(tmp_path, monkeypatch, live):
    """A file is asked for its sound once more; a live stream would be somewhere else by then."""
    path = write_clip(tmp_path / "in.mkv", audio_s=0.8, beep_s=0.4, mux={"live": "1"})
    monkeypatch.setattr(Unmeasured, "clip", path.read_bytes())
    monkeypatch.setattr(Unmeasured, "live", live)
    monkeypatch.setattr(Unmeasured, "served", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unmeasured) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/in.mkv"
        notes = segmented(url, tmp_path / "out.mp4")
        server.shutdown()
    found = probe(tmp_path / "out.mp4")
    if live:
        assert found.audio_codec is None
        assert "left out: the sound of in.mkv (which can be read once only)" in notes
    else:
        assert notes == []  # its end is no lost connection
        assert found.beep_s == pytest.approx(0.4, abs=0.03)
        assert len(found.times) == 20


def test_an_early_picture_keeps_the_sound_behind_it(tmp_path):
    """Sound that starts late starts late in the output, too, where it is encoded anew."""
    clip = write_clip(
        tmp_path / "in.mov",
        [n / RATE for n in range(30)],
        [picture(n) for n in range(30)],
        audio_s=0.6,
        audio_codec="pcm_s16le",
        audio_start_s=Fraction(1, 2),
        beep_s=0.2,
    )
    segmented(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").beep_s == pytest.approx(0.7, abs=0.03)
