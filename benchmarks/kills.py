"""Kill a run again and again at random moments: what was written must play, and be gone on with.

    python -m benchmarks.kills [--kills 25] [--frames 221] [--seed 0] [-- OPTIONS OF SEGMENT]

An undisturbed run of a clip with sound is the measure. Then runs are killed (SIGKILL) at random
frames that are spread over the clip's length: what is left must be readable, ``--resume`` must end
the run or be killed at a later frame itself, and the video's frames and sound, the masks and the
rows must then equal the undisturbed run's. Prints a line for each run, and exits with 1 if anything
differs.
"""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import click
import cv2
import numpy as np

PROGRAM = (sys.executable, "-m", "accel_rt")
LIGHT = "--mode accel --reference efficientnet_lite0 --update efficientnet_lite0 --size 64x48"


def make_clip(path: Path, frames: int) -> None:
    """A moving picture with noise, cuts and a tone."""
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 255, (240, 640, 3), np.uint8) for _ in range(4)]
    scenes = [cv2.GaussianBlur(scene, (0, 0), 9) for scene in scenes]
    scenes = [cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX) for scene in scenes]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(frames):
            scene = scenes[number // 63 % len(scenes)]
            image = np.roll(scene, -2 * number, 1)[:, :320]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        wave = np.sin(np.arange(frames * 1920) / 20) * 9000
        for begin in range(0, len(wave), 1024):
            part = av.AudioFrame.from_ndarray(
                wave[None, begin : begin + 1024].astype(np.int16), format="s16", layout="mono"
            )
            part.sample_rate, part.pts, part.time_base = 48000, begin, Fraction(1, 48000)
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))


def outputs(folder: Path, form: str) -> dict[str, object]:
    """Frames, sound, masks and rows of a finished run, ready to be compared."""
    found: dict[str, object] = {}
    with av.open(str(folder / "out.mp4")) as container:
        frames = list(container.decode(video=0))
        found["times"] = [frame.time for frame in frames]
        found["frames"] = [hash(frame.to_ndarray().tobytes()) for frame in frames]
    with av.open(str(folder / "out.mp4")) as container:
        found["sound"] = [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]
    if form == "rle":
        found["masks"] = json.loads((folder / "masks" / "masks.json").read_text())
    else:
        found["masks"] = {p.name: p.read_bytes() for p in (folder / "masks").iterdir()}
    with (folder / "times.csv").open(newline="") as file:
        found["rows"] = [(r["frame"], r["pts_s"], r["kind"]) for r in csv.DictReader(file)]
    return found


def left_playing(folder: Path) -> int | None:
    """Pictures that can be decoded of what a killed run left; None where it left no video."""
    parts = [*folder.glob("out.mp4.*.part"), *folder.glob("out.mp4")]
    counts = []
    for part in parts:
        if part.stat().st_size:
            with av.open(str(part)) as container:
                counts.append(sum(1 for _ in container.decode(video=0)))
    for rows in folder.glob("times.csv.*.part"):
        list(csv.DictReader(rows.read_text().splitlines()))
    for lines in folder.glob("masks/masks.*.part/frames.jsonl"):
        whole = lines.read_text().split("\n")[:-1]
        list(map(json.loads, whole))
    return max(counts, default=None)


def frames_done(folder: Path) -> int:
    """Frames whose rows an unfinished run has written so far."""
    lines = [rows.read_bytes().count(b"\n") for rows in folder.glob("times.csv.*.part")]
    return max(lines, default=1) - 1


def killed_at(process: subprocess.Popen[str], folder: Path, frame: int) -> bool:
    """Kill ``process`` once it has done ``frame`` frames; False if it ended before."""
    while process.poll() is None:
        if frames_done(folder) >= frame:
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.002)
    return False


def moments(kills: int, frames: int, rng: random.Random) -> list[int]:
    """Frames to kill at in random order, one from each of ``kills`` equal parts of the clip."""
    found = [rng.randrange(n * frames // kills, (n + 1) * frames // kills) for n in range(kills)]
    rng.shuffle(found)
    return found


def try_run(
    command: list[str], folder: Path, left: list[int], form: str, expected: dict[str, object]
) -> tuple[int, bool]:
    """Kill and go on with one run at frames taken off ``left`` while they rise.

    Prints what came of it; returns the number of kills, and whether all was right.
    """
    kills: list[str] = []
    resume: list[str] = []
    while True:
        with (folder.parent / "said").open("w+") as said:
            process = subprocess.Popen(
                [*command, *resume], cwd=folder, stdout=said, stderr=subprocess.STDOUT, text=True
            )
            began_with = frames_done(folder) if resume else 0
            wanted = left[-1] if left and (not kills or left[-1] > began_with) else None
            if wanted is None or not killed_at(process, folder, wanted):
                process.wait()
                said.seek(0)
                text = said.read()
                break
        left.pop()
        kills.append(f"frame {frames_done(folder)} (plays {left_playing(folder)})")
        resume = ["--resume"]
    found = outputs(folder, form) if process.returncode == 0 else {}
    differ = [name for name in expected if found.get(name) != expected[name]]
    names = sorted(path.name for path in folder.iterdir())
    clean = names == ["masks", "out.mp4", "times.csv"] and not [*folder.glob("masks/masks.*.part")]
    click.echo(f"{form}: killed at {', '.join(kills)}: {differ=} {clean=}")
    if differ or not clean:
        click.echo(f"  {process.returncode} {names} {text}")
    return len(kills), not differ and clean


@click.command()
@click.option("--kills", default=25, show_default=True)
@click.option("--frames", default=221, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.argument("options", nargs=-1)
def main(kills: int, frames: int, seed: int, options: tuple[str, ...]) -> None:
    rng = random.Random(seed)
    with TemporaryDirectory() as root:
        clip = Path(root) / "clip.mp4"
        make_clip(clip, frames)
        left, done, wrong, runs = moments(kills, frames, rng), 0, 0, 0
        expected: dict[str, dict[str, object]] = {}
        while left:
            form = ("png", "rle")[runs % 2]
            runs += 1
            command = [*PROGRAM, "segment", str(clip), "-o", "out.mp4"]
            command += ["--masks", "masks", "--masks-format", form, "--timing", "times.csv"]
            command += options or LIGHT.split()
            if form not in expected:
                undisturbed = Path(root) / form
                undisturbed.mkdir()
                subprocess.run(command, cwd=undisturbed, check=True, capture_output=True)
                expected[form] = outputs(undisturbed, form)
            folder = Path(root) / f"run{runs}"
            folder.mkdir()
            made, right = try_run(command, folder, left, form, expected[form])
            done, wrong = done + made, wrong + (not right)
            if not made:
                click.echo(f"  frame {left.pop()} came too late to be killed at")
        click.echo(f"{done} kills in {runs} runs, {wrong} runs wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
