"""What preparing networks for inference is worth: networks as they are against prepared ones.

    python benchmarks/prepared.py --networks efficientnet_lite0,resnet18

Both have folded batch norms and run in turn on the same frame; weights are random.
"""

from __future__ import annotations

from functools import partial

import click
import torch
from rich.console import Console
from rich.table import Table

from accel_rt.bench.harness import Effort, interleave
from accel_rt.cli.options import CommaList
from accel_rt.device import resolve_precision
from accel_rt.models.inference import fold_batch_norm, for_inference
from accel_rt.models.layers import to_fast_layout
from accel_rt.models.zoo import build_network

_CPU = torch.device("cpu")
_SIZES = ((368, 480), (192, 240))


@click.command()
@click.option(
    "--networks",
    type=CommaList(),
    default="efficientnet_lite0,efficientnet_lite2,resnet18,resnet101",
    show_default=True,
)
@click.option("--precision", default="auto", show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="For each row.")
def main(networks: tuple[str, ...], precision: str, seconds: float) -> None:
    """Print a table: medians in milliseconds."""
    dtype = resolve_precision(precision, _CPU)
    table = Table("network", "size", "plain", "prepared", "times as fast")
    for name in networks:
        plain = to_fast_layout(fold_batch_norm(build_network(name, 11).eval()), _CPU, dtype)
        prepared = for_inference(build_network(name, 11), _CPU, dtype)
        for height, width in _SIZES:
            frame = torch.randn(1, 3, height, width, dtype=dtype)
            frame = frame.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                runs = {"plain": partial(plain, frame), "prepared": partial(prepared, frame)}
                times = interleave(runs, Effort(seconds, 3, 1000))
            before, after = times["plain"].median, times["prepared"].median
            ratio = f"{before / after:.2f}"
            table.add_row(name, f"{width}x{height}", f"{before:.1f}", f"{after:.1f}", ratio)
    Console().print(f"{dtype}, {torch.get_num_threads()} threads", table)


if __name__ == "__main__":
    main()
