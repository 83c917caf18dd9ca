"""Random weights in place of those that were left behind, of the same shapes: for timing alone.

    python -m benchmarks.stand_in FOLDER resnet101 resnet18

``ACCEL_RT_WEIGHTS=FOLDER`` then finds them. Networks whose weights are installed are left out.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from accel_rt.classes import CAMVID
from accel_rt.errors import UsageError
from accel_rt.models import store
from accel_rt.models.weights import ModelInfo, save_network
from accel_rt.models.zoo import build_network


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("networks", nargs=-1)
def main(folder: Path, networks: tuple[str, ...]) -> None:
    """Write FOLDER/NAME.safetensors for the NETWORKS that are not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in networks:
        try:
            store.find(name)
        except UsageError:
            torch.manual_seed(0)
            network = build_network(name, len(CAMVID)).eval()
            info = ModelInfo(name, CAMVID, (360, 480), "nothing: random weights")
            save_network(folder / f"{name}.safetensors", network, info)
            click.echo(f"{name}: random weights")


if __name__ == "__main__":
    main()
