"""Kill a run again and again at random moments: what was written must play, and be gone on with.

    python -m benchmarks.kills [--kills 25] [--frames 221] [--seed 0] [-- OPTIONS OF SEGMENT]

An undisturbed run of a clip with sound is the measure. Then one run is killed (SIGKILL) at a random
moment, its leftovers are read, it is gone on with by ``--resume`` and killed again, until it ends;
its video's frames, its masks and its rows must equal the undisturbed run's. This is repeated until
so many kills have been made. Prints a line for each, and exits with 1 if anything differs.
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
        done = wrong = runs = 0
        while done < kills:
            form = rng.choice(("png", "rle"))
            killed_at: list[int | None] = []
            runs += 1
            command = [*PROGRAM, "segment", str(clip), "-o", "out.mp4"]
            command += ["--masks", "masks", "--masks-format", form, "--timing", "times.csv"]
            command += [*(options or LIGHT.split())]
            measure, tried = Path(root) / form, Path(root) / f"run{runs}"
            if not measure.exists():
                measure.mkdir()
                started = time.monotonic()
                subprocess.run(command, cwd=measure, check=True, capture_output=True)
                lasts_s = time.monotonic() - started
                expected = outputs(measure, form)
            expected = outputs(measure, form)
            tried.mkdir()
            while True:
                resume = ["--resume"] if killed_at else []
                process = subprocess.Popen(
                    [*command, *resume], cwd=tried, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
                try:
                    text, _ = process.communicate(timeout=rng.uniform(0.1, 1.1) * lasts_s)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    killed_at.append(left_playing(tried))
                    done += 1
            same = process.returncode == 0 and outputs(tried, form) == expected
            left = sorted(p.name for p in tried.iterdir())
            clean = left == ["masks", "out.mp4", "times.csv"]
            clean = clean and not [*tried.glob("masks/masks.*.part")]
            wrong += not (same and clean)
            click.echo(f"{form}: killed after pictures {killed_at}: {same=} {clean=}")
            if not same or not clean:
                click.echo(f"  {left} {text.decode()}")
                if process.returncode == 0:
                    found = outputs(tried, form)
                    click.echo(f"  differ: {[n for n in found if found[n] != expected[n]]}")
        click.echo(f"{done} kills, {wrong} runs wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
