"""Which videos a folder holds, and what is left where outputs are delivered."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from accel_rt.errors import InputError
from accel_rt.scale.place import deliver, expand, input_file
from tests.need import need


def test_linked_folders_are_looked_through_and_circles_end(tmp_path):
    for name in ("in/a/x.mp4", "elsewhere/y.mp4", "in/.hidden/z.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in/b").symlink_to("../elsewhere")
    (tmp_path / "elsewhere/round").symlink_to("../in")
    found = expand([str(tmp_path / "in")])
    assert found == [(f"{tmp_path}/in/a/x.mp4", "a/x"), (f"{tmp_path}/in/b/y.mp4", "b/y")]


def test_a_folder_that_cannot_be_looked_through_is_told_of(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "x.mp4").touch()
    plain = Path.iterdir

    def refuse(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="a' cannot be looked through .permission denied.: check"):
        expand([str(tmp_path)])


@pytest.mark.parametrize("query", ["", "?token=x", "?sig=a.b/c.d", f"?sig={'a.b' * 100}"])
def test_a_copy_is_called_as_the_file_that_a_url_names(query, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    memory = need("fsspec").filesystem("memory")
    memory.store.clear()
    memory.pipe_file(f"/in/clip.mp4{query}", b"a video")
    copy = input_file(f"memory://in/clip.mp4{query}")
    assert copy.suffix == ".mp4"
    assert copy.read_bytes() == b"a video"


@pytest.mark.parametrize("names", [["frame_000000.png", "classes.json"], ["masks.json"]])
def test_masks_at_a_url_are_those_of_the_last_run(tmp_path, names):
    memory = need("fsspec").filesystem("memory")
    memory.store.clear()
    earlier = [f"frame_{number:06d}.png" for number in range(3)]
    told = {"masks": [*earlier, "of_a_picture.png"], "numbered": earlier}
    for name in (*earlier, "of_a_picture.png", "of_another.txt"):
        memory.pipe_file(f"/m/{name}", b"earlier")
    memory.pipe_file("/m/classes.json", json.dumps(told).encode())
    for name in names:
        (tmp_path / name).write_text("{}")
    deliver(tmp_path, "memory://m")
    left = sorted(path.rpartition("/")[2] for path in memory.find("/m"))
    assert left == sorted([*names, "of_a_picture.png", "of_another.txt"])
