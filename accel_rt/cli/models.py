"""``accel-rt models``: what weights are installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from accel_rt.cli.text import say, show, table
from accel_rt.runtime.settings import DEFAULT_REFERENCE, DEFAULT_UPDATE

if TYPE_CHECKING:
    from accel_rt.models.store import Entry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> int:
    """List the installed networks and the pairs with a trained fusion.

    Weights are looked up in the folders that $ACCEL_RT_WEIGHTS names, in the package's own, and in
    packages of weights that are installed.
    """
    from accel_rt.models import store

    for entry in store.damaged():
        say(f"note: {entry.error}")
    rows = [_describe(entry) for entry in store.installed()]
    if as_json:
        show(json.dumps(rows, indent=2))
    elif rows:
        flows, whole = _kind(rows, "flownets", "flow network"), _kind(rows, "model", "model")
        policies = _kind(rows, "policy", "keyframe policy")
        tables = (_networks(rows), _pairs(rows), flows, policies, whole)
        shown = [table(lines, right) for lines, right in tables if len(lines) > 1]
        show("\n\n".join([*shown, *_classes(rows)]))
    else:
        places = " and ".join(str(folder) for folder in store.folders())
        say(f"no weights are installed in {places}: set ACCEL_RT_WEIGHTS to a folder with some")
    return 0


def _describe(entry: Entry) -> dict[str, Any]:
    from accel_rt.models.weights import INT8_OF

    description = dict(entry.description)
    if entry.kind == "network":
        description["classes"] = description["classes"]["names"]
        description["int8"] = INT8_OF in description
    return {
        "name": entry.name,
        "role": {DEFAULT_REFERENCE: "reference", DEFAULT_UPDATE: "update"}.get(entry.name, ""),
        "path": str(entry.path),
        "size_mb": round(entry.path.stat().st_size / 1e6, 2),
        **description,
    }


_Lines = tuple[list[tuple[str, ...]], tuple[int, ...]]  # rows, and the columns to the right


def _networks(rows: list[dict[str, Any]]) -> _Lines:
    lines: list[tuple[str, ...]] = [
        ("network", "default", "MB", "int8", "classes", "mIoU", "trained on")
    ]
    for row in rows:
        if row["kind"] == "network":
            miou = "-" if row.get("miou") is None else f"{row['miou']:.1f}"
            classes = str(len(row["classes"]))
            int8, trained_on = "yes" if row["int8"] else "-", row["trained_on"]
            lines.append((row["name"], row["role"], _size(row), int8, classes, miou, trained_on))
    return lines, (2, 4, 5)


def _pairs(rows: list[dict[str, Any]]) -> _Lines:
    lines: list[tuple[str, ...]] = [("fusion", "of", "MB", "trained on")]
    for row in rows:
        if row["kind"] in ("fusion", "feature-fusion"):
            pair = f"{row['reference']} + {row['update']}"
            lines.append((row["name"], pair, _size(row), row["trained_on"]))
    return lines, (2,)


def _kind(rows: list[dict[str, Any]], kind: str, title: str) -> _Lines:
    lines: list[tuple[str, ...]] = [(title, "MB", "trained on")]
    lines += [(row["name"], _size(row), row["trained_on"]) for row in rows if row["kind"] == kind]
    return lines, (1,)


def _classes(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for each set of classes: which networks tell them apart."""
    networks: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row["kind"] == "network":
            networks.setdefault(tuple(row["classes"]), []).append(row["name"])
    return [
        f"classes of {', '.join(names)}:\n  {', '.join(classes)}"
        for classes, names in networks.items()
    ]


def _size(row: dict[str, Any]) -> str:
    return f"{row['size_mb']:.2f}"
