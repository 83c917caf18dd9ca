"""Speed of training: our deformable convolution against torchvision's, and the wait for samples.

    python benchmarks/train.py [--network resnet18] [--data CAMVID] [--threads 2]

Steps of the same network (forward, loss, backward, AdamW) take turns; then a real run measures
which share of its time passes waiting for samples.
"""

from __future__ import annotations

import copy
import csv
import platform
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from accel_rt.bench.harness import Effort, Samples, interleave
from accel_rt.classes import CAMVID
from accel_rt.cli.options import Size
from accel_rt.models.layers import DeformConv2d, to_fast_layout
from accel_rt.models.network import Network
from accel_rt.models.zoo import build_network
from accel_rt.train.deeplab import train_deeplab
from accel_rt.train.losses import segmentation_loss
from accel_rt.train.optimiser import make_optimiser, parameter_groups
from accel_rt.train.settings import DeepLabSettings


@click.command()
@click.option("--network", default="resnet18", show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--crop", type=Size(), default="320x240", show_default=True)
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option("--seconds", default=60.0, show_default=True, help="For the steps that take turns.")
@click.option("--steps", default=40, show_default=True, help="Of the run that waits for samples.")
@click.option("--street", default=0.2, show_default=True, help="Its share of procedural streets.")
@click.option("--data", type=click.Path(path_type=Path), help="Its data set; 0 steps without one.")
@click.option("--workers", default=1, show_default=True, help="Processes that make its samples.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
def main(
    network: str,
    batch: int,
    crop: tuple[int, int],
    precision: str,
    seconds: float,
    steps: int,
    street: float,
    data: Path | None,
    workers: int,
    threads: int | None,
) -> None:
    """Print images a second and the share of time spent waiting."""
    if threads:
        torch.set_num_threads(threads)
    settings = DeepLabSettings(
        network, data, street=street, steps=steps, batch=batch, crop=crop, precision=precision,
        workers=workers, log_every=10, validate_every=10**6, validate_first=10**6,
        tensorboard=False,
    )  # fmt: skip
    ours = to_fast_layout(build_network(network, len(CAMVID)))
    images = torch.randn(batch, 3, crop[1], crop[0]).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, len(CAMVID), (batch, crop[1], crop[0]))
    rivals = {"accel-rt": ours, "ordinary convolutions": _with(OrdinaryConv, ours)}
    if find_spec("torchvision"):
        rivals["torchvision"] = _with(TorchvisionDeform, ours)
    else:
        click.echo("torchvision is not installed: nothing to compare with", err=True)
    effort = Effort(seconds, least_rounds=3, most_rounds=200)
    timed = interleave(
        {name: _stepper(rival, images, labels, settings) for name, rival in rivals.items()}, effort
    )
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    Console(highlight=False).print(
        f"{network}, {batch} images of {crop[0]}x{crop[1]}, {precision}, {machine}, "
        f"torch {torch.__version__}",
        _table(timed, batch),
    )
    if data is not None and steps:
        waited, rate = _waiting(settings)
        click.echo(f"waiting for samples: {waited:.1%} of the time, at {rate:.2f} images a second")


class TorchvisionDeform(DeformConv2d):
    """The same layer by torchvision's operator, which has no bfloat16 kernel."""

    def forward(self, x: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d

        offset = self.offset(x).float()
        with torch.autocast(x.device.type, enabled=False):
            stride, padding, dilation = self.geometry
            return deform_conv2d(
                x.float(), offset, self.weight, None, stride, padding, dilation
            ).to(offset.dtype)


class OrdinaryConv(DeformConv2d):
    """No offsets: what the network costs without deformable convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, x)


def _with(kind: type[DeformConv2d], network: Network) -> Network:
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, DeformConv2d):
            module.__class__ = kind
    return copied


def _stepper(
    network: Network, images: Tensor, labels: Tensor, settings: DeepLabSettings
) -> Callable[[], None]:
    network.train()
    optimiser = make_optimiser(parameter_groups([network], settings.weight_decay), settings)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
            scores = network(images)
        optimiser.zero_grad(set_to_none=True)
        segmentation_loss(scores.float(), labels).backward()
        optimiser.step()

    return step


def _table(timed: dict[str, Samples], batch: int) -> Table:
    table = Table("deformable convolution", "images/s", "step, median ms", "p95", "accel-rt is")
    ours = timed["accel-rt"].median
    for name, samples in timed.items():
        table.add_row(
            name,
            f"{1e3 * batch / samples.median:.2f}",
            f"{samples.median:.0f}",
            f"{samples.p95:.0f}",
            "" if name == "accel-rt" else f"{samples.median / ours:.2f}x",
        )
    return table


def _waiting(settings: DeepLabSettings) -> tuple[float, float]:
    """Share of the time spent waiting, and images a second, but for the first row's steps."""
    with TemporaryDirectory() as folder:
        train_deeplab(settings, Path(folder), lambda line: click.echo(line, err=True))
        rows = list(csv.DictReader((Path(folder) / "log.csv").open()))[1:]
    rates = [float(row["images_per_s"]) for row in rows]
    waited = [float(row["waited"]) for row in rows]
    return sum(waited) / len(waited), sum(rates) / len(rates)


if __name__ == "__main__":
    main()
