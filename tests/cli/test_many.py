"""``accel-rt segment`` with many workers, here one after the other in this process."""

from __future__ import annotations

import errno
import json
import tempfile
from contextlib import nullcontext

import pytest

from accel_rt.cli import many_run
from accel_rt.cli.chunk_work import SegmentWork
from accel_rt.scale import place
from tests.need import need
from tests.scale import small
from tests.video.clips import probe

ARGS = ("--workers", 2, "--chunk-seconds", 1)


@pytest.fixture
def done(monkeypatch):
    """Puts small networks and one worker in place; the ids of the tasks it began."""
    began = []

    class Noted(SegmentWork):
        def __call__(self, task):
            began.append(task)
            return super().__call__(task)

    def crew(work, many, cores):
        return nullcontext(small.Serial(Noted(**{**vars(work), "load": small.load})))

    monkeypatch.setattr(many_run, "_crew", crew)
    return began


def names(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_a_tree_of_videos_is_kept_and_a_corrupt_one_is_told_of(accel, done, tmp_path):
    for number, name in enumerate(("in/a/x.mp4", "in/b/x.mkv", "in/y.mp4")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small.clip(path, 30, number, audio_s=0)
    (tmp_path / "in/a/bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "in/notes.txt").write_text("none")
    out = accel("segment", "in", "-o", "out", *ARGS, "--timing", "t.csv")
    assert out.code == 1
    assert "3 done, 0 done before, 1 failed: 90 frames" in out.out
    assert "error: 1 of 4 videos failed, for the reasons told" in out.err
    assert "in/a/bad.mp4  reading it" in out.out
    assert "is not a video" in out.out
    videos = [name for name in names(tmp_path / "out") if not name.startswith(".")]
    assert videos == ["a/x_accel.mp4", "b/x_accel.mp4", "y_accel.mp4"]
    assert names(tmp_path)[:2] == ["a/t_x.csv", "b/t_x.csv"]
    assert len([task for task in done if task.kind == "plan"]) == 3 + 3  # three times the bad one
    done.clear()
    small.clip(tmp_path / "in/a/bad.mp4", 30, 4, audio_s=0)
    out = accel("segment", "in", "-o", "out", *ARGS, "--timing", "t.csv")
    assert out.code == 0, out.err
    assert "1 done, 3 done before, 0 failed: 30 frames" in out.out
    assert {task.video.source for task in done} == {f"{tmp_path}/in/a/bad.mp4"}


def test_a_pattern_names_videos_and_outputs_are_no_inputs(accel, done, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("x", "y"):
        small.clip(tmp_path / f"in/{name}.mp4", 20, audio_s=0)
    assert accel("segment", "in/*.mp4", "-o", "in/o", *ARGS).code == 0
    assert "in/o/x_accel.mp4" in names(tmp_path)
    assert {task.video.source for task in done} == {f"{tmp_path}/in/{n}.mp4" for n in "xy"}
    done.clear()
    assert accel("segment", "in", "-o", "in/o", *ARGS).code == 0
    assert not [task for task in done if "in/o" in task.video.source]


@pytest.mark.parametrize("inputs", ["in", "in/*.mp4"])
def test_outputs_do_not_go_among_the_inputs(accel, done, tmp_path, inputs):
    (tmp_path / "in").mkdir()
    small.clip(tmp_path / "in/x.mp4", 20, audio_s=0)
    out = accel("segment", inputs, "-o", "in", *ARGS)
    assert out.code == 2
    assert "outputs in it would be taken for inputs" in out.error
    assert names(tmp_path) == ["in/x.mp4"]


def test_no_input_is_written_over(accel, done, tmp_path):
    for name in ("x", "x_accel"):
        small.clip(tmp_path / f"{name}.mp4", 20, audio_s=0)
    before = (tmp_path / "x_accel.mp4").read_bytes()
    out = accel("segment", "x.mp4", "x_accel.mp4", "-o", ".", *ARGS)
    assert out.code == 2
    assert "is an input itself" in out.error
    assert (tmp_path / "x_accel.mp4").read_bytes() == before


def test_outputs_of_a_file_that_has_changed_are_not_taken_for_done(accel, done, tmp_path):
    small.clip(tmp_path / "x.mp4", 20, audio_s=0)
    for color in ("#102030", "#302010"):
        (tmp_path / "p.json").write_text(f'{{"dark": "{color}"}}')
        out = accel("segment", "x.mp4", "-o", "out", *ARGS, "--palette", "p.json")
        assert "1 done, 0 done before" in out.out


def test_outputs_of_other_settings_are_not_taken_for_done(accel, done, tmp_path):
    small.clip(tmp_path / "x.mp4", 20, audio_s=0)
    made = []
    for alpha in (0, 1, 0):
        out = accel("segment", "x.mp4", "-o", "out", *ARGS, "--alpha", alpha)
        assert "1 done, 0 done before" in out.out
        made.append(probe(tmp_path / "out/x_accel.mp4").images[0])
    assert (made[0] == made[2]).all()
    assert (made[0] != made[1]).any()


@pytest.mark.slow
def test_the_same_command_goes_on_where_it_was_broken_off(accel, done, tmp_path, monkeypatch):
    path = small.clip(tmp_path / "x.mp4", 100)
    args = ("segment", path, *ARGS, "--masks")
    assert accel(*args, "m", "-o", "whole").code == 0
    chunks = [task.id for task in done if task.kind == "chunk"]
    assert len(chunks) == 4
    done.clear()
    plain = SegmentWork._chunk

    def interrupted(self, task):
        if task.chunk == 2:
            raise KeyboardInterrupt
        return plain(self, task)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentWork, "_chunk", interrupted)
        stopped = accel(*args, "n", "-o", "out")
    assert stopped.code == 130
    assert "2 of 4 chunks are done: the same command goes on" in stopped.err
    manifest = tmp_path / "out/.accel-rt/manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-5])  # its last line is cut off
    begun = len(done)
    again = accel(*args, "n", "-o", "out")
    assert again.code == 0, again.err
    later = done[begun:]
    assert [task.chunk for task in later if task.kind == "chunk"] == [1, 2, 3]  # 1 is there
    assert names(tmp_path / "out") == [".accel-rt/manifest.jsonl", "x_accel.mp4"]
    for name in names(tmp_path / "m"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "n" / name).read_bytes()
    whole, found = probe(tmp_path / "whole/x_accel.mp4"), probe(tmp_path / "out/x_accel.mp4")
    assert found.times == whole.times
    assert all((a == b).all() for a, b in zip(found.images, whole.images, strict=True))


def test_other_settings_or_another_input_are_other_work(accel, done, tmp_path):
    path = small.clip(tmp_path / "x.mp4", 20, audio_s=0)
    assert accel("segment", path, "-o", "out", *ARGS).code == 0
    assert accel("segment", path, "-o", "out", *ARGS, "--interval", 3).code == 0
    small.clip(path, 22, audio_s=0)
    assert accel("segment", path, "-o", "out", *ARGS).code == 0
    assert len({task.id for task in done if task.kind == "chunk"}) == 3
    (tmp_path / "out/x_accel.mp4").unlink()
    assert accel("segment", path, "-o", "out", *ARGS).code == 0
    assert len(probe(tmp_path / "out/x_accel.mp4").times) == 22


@pytest.mark.slow
def test_three_failures_of_a_chunk_leave_the_rest_done(accel, done, tmp_path, monkeypatch):
    """Here the disk is full for one of them; once there is room the rest is done."""
    for name in ("x", "y"):
        small.clip(tmp_path / f"{name}.mp4", 60, audio_s=0)
    plain, flush = SegmentWork._chunk, place._flush

    def full(self, task):
        def refuse(path):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            full_for = task.chunk == 1 and task.video.source.endswith("x.mp4")
            patched.setattr(place, "_flush", refuse if full_for else flush)
            return plain(self, task)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentWork, "_chunk", full)
        out = accel("segment", tmp_path, "-o", "out", *ARGS)
    assert out.code == 1
    assert "1 done, 0 done before, 1 failed" in out.out
    assert f"{tmp_path}/x.mp4  from 0.960 s to the end  the disk is full" in out.out
    assert [name for name in names(tmp_path / "out") if "accel.mp4" in name] == ["y_accel.mp4"]
    assert not list((tmp_path / "out/.accel-rt/chunks").glob("*.part"))
    assert sum(task.chunk == 1 for task in done if task.video.source.endswith("x.mp4")) == 3
    done.clear()
    assert accel("segment", tmp_path, "-o", "out", *ARGS).code == 0
    assert [(task.kind, task.chunk) for task in done] == [("chunk", 1), ("join", 0)]


def test_a_video_that_ends_early_is_joined_and_told_of(accel, done, tmp_path):
    path = small.clip(tmp_path / "x.mp4", 60, audio_s=0, mux={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-3000])
    out = accel("segment", path, "-o", "out", *ARGS)
    assert out.code == 1
    assert "could not be read whole" in out.err
    assert 20 < len(probe(tmp_path / "out/x_accel.mp4").times) < 60
    again = accel("segment", path, "-o", "out", *ARGS)
    assert again.code == 1
    assert "0 done, 1 done before" in again.out
    assert "could not be read whole" in again.err


def test_progress_for_machines(accel, done, tmp_path, monkeypatch):
    monkeypatch.setattr(many_run, "_JSON_EVERY_S", 0)
    path = small.clip(tmp_path / "x.mp4", 60, audio_s=0)
    out = accel("segment", path, "-o", "out", *ARGS, "--json-progress")
    *lines, last = map(json.loads, out.out.splitlines())
    assert [line["frames"] for line in lines][-1] == 60 == lines[-1]["total_frames"]
    assert {"done", "running", "failed", "frames_per_s", "left_s"} <= lines[0].keys()
    assert last["done"] == [str(path)]
    assert last["failures"] == last["damaged"] == []


def test_plain_lines_say_how_far_all_is(accel, done, tmp_path, monkeypatch):
    monkeypatch.setattr(many_run, "_LINE_EVERY_S", 0)
    path = small.clip(tmp_path / "x.mp4", 60, audio_s=0)
    out = accel("segment", path, "-o", "out", *ARGS)
    assert "0 of 1 videos, 24 of 60 frames, " in out.err
    assert " s left" in out.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("x.mp4",), "give -o FOLDER"),
        (("x.mp4", "-o", "x.mp4"), "need a folder, got -o 'x.mp4'"),
        (("x.mp4", "-o", "out", "--resume"), "go on by themselves"),
        (("-", "-o", "out"), "is no video file"),
        (("x.mp4", "-o", "out", "--timing", "t.txt"), "ends in .csv or .json"),
        (("x.mp4", "-o", "out", "--reference", "none"), "no installed network weights"),
        (("rtsp://camera/1", "-o", "out"), "pip install 'accel-rt[cluster]'"),
        (("x.mp4", "d/x.mp4", "-o", "out"), "would both be written"),
        (("x.mp4", "-o", "out", "--timing", "a.csv", "--stats", "a.csv"), "name two files"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(accel, done, tmp_path, args, message):
    small.clip(tmp_path / "x.mp4", 10, audio_s=0)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x.mp4").write_bytes(b"")
    out = accel("segment", *args, *ARGS)
    assert out.code == 2
    assert message in out.error
    assert not done
    assert not (tmp_path / "out").exists()


def test_nothing_to_do_is_told(accel, done, tmp_path):
    (tmp_path / "in").mkdir()
    assert "holds no video" in accel("segment", "in", "-o", "out", *ARGS).error
    assert "there is no file" in accel("segment", "none.mp4", "-o", "out", *ARGS).error


def test_two_runs_into_one_folder_are_refused(accel, done, tmp_path):
    path = small.clip(tmp_path / "x.mp4", 10, audio_s=0)
    folder = tmp_path / "out/.accel-rt"
    folder.mkdir(parents=True)
    claim = many_run.Claim(folder / "manifest.jsonl")
    out = accel("segment", path, "-o", "out", *ARGS)
    claim.release()
    assert out.code == 1
    assert "is being written by another run" in out.error


@pytest.mark.slow
def test_urls_give_what_paths_give_and_nothing_is_read_twice(accel, done, tmp_path, monkeypatch):
    memory = need("fsspec").filesystem("memory")
    memory.store.clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for name in ("a/x", "y"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        path = small.clip(tmp_path / f"in/{name}.mp4", 60)
        memory.pipe_file(f"/drives/{name}.mp4", path.read_bytes())
    read = []
    fetch = type(memory).get_file

    def noted(self, path, *args, **options):
        read.append(path)
        return fetch(self, path, *args, **options)

    monkeypatch.setattr(type(memory), "get_file", noted)
    out = accel("segment", "in", "-o", "out", *ARGS, "--masks", "m")
    assert out.code == 0, out.err
    args = ("segment", "memory://drives", "-o", "memory://out", *ARGS, "--masks", "memory://m")
    out = accel(*args)
    assert out.code == 0, out.err
    assert "2 done, 0 done before" in out.out
    for name in names(tmp_path / "m"):
        assert memory.cat_file(f"/m/{name}") == (tmp_path / "m" / name).read_bytes()
    for name in ("a/x_accel.mp4", "y_accel.mp4"):
        assert memory.cat_file(f"/out/{name}") == (tmp_path / "out" / name).read_bytes()
    assert len(read) == len(set(read))
    assert sum(path.startswith("/drives") for path in read) == 2
    assert not [path for path in memory.find("/out") if "/chunks/" in path or "part" in path]
    done.clear()
    assert "0 done, 2 done before" in accel(*args).out
    assert not done
    memory.rm("/out/y_accel.mp4")
    assert "1 done, 1 done before" in accel(*args).out


def test_the_name_of_a_url_may_look_like_a_pattern(accel, done, tmp_path, monkeypatch):
    memory = need("fsspec").filesystem("memory")
    memory.store.clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    memory.pipe_file("/drives/a[1].mp4", small.clip(tmp_path / "x.mp4", 5).read_bytes())
    out = accel("segment", "memory://drives/a[1].mp4", "-o", "out", *ARGS)
    assert out.code == 0, out.err
    assert (tmp_path / "out/a[1]_accel.mp4").is_file()


def test_a_url_that_cannot_be_had_is_told_of(accel, done, tmp_path):
    need("fsspec")
    out = accel("segment", "memory://nothing/there.mp4", "-o", "out", *ARGS)
    assert out.code == 1
    assert "there is nothing at" in out.error


@pytest.mark.parametrize("content", [b"[", bytes(range(128, 256))])
def test_wrong_zones_are_told_before_any_work(accel, done, tmp_path, content):
    small.clip(tmp_path / "x.mp4", 5, 0, audio_s=0)
    (tmp_path / "zones.json").write_bytes(content)
    out = accel("segment", "x.mp4", "-o", "out", *ARGS, "--zones", "zones.json", "--stats", "s.csv")
    assert out.code == 1
    assert "'zones.json' does not hold zones" in out.error
    assert not done


@pytest.mark.parametrize("prefix", ["", "file://{here}/"])
def test_workers_in_another_folder_find_everything(accel, done, tmp_path, monkeypatch, prefix):
    """Those of a cluster are where it was started; ``file://`` is a path, too."""
    (tmp_path / "in").mkdir()
    small.clip(tmp_path / "in/x.mp4", 5, audio_s=0)
    (tmp_path / "z.json").write_text('{"left": [[0, 0], [0.5, 0], [0.5, 1]]}')
    (tmp_path / "p.json").write_text('{"dark": "#102030"}')
    (tmp_path / "m.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    crew, works = many_run._crew, []

    def elsewhere(work, many, cores):
        monkeypatch.chdir(tmp_path / "elsewhere")
        works.append(work)
        return crew(work, many, cores)

    monkeypatch.setattr(many_run, "_crew", elsewhere)
    start = prefix.format(here=tmp_path)
    named = {"-o": "out", "--masks": "m", "--timing": "t.csv", "--stats": "s.csv"}
    outputs = [part for option, name in named.items() for part in (option, start + name)]
    files = ("--zones", "z.json", "--palette", "p.json", "--map", "m.json", "--allow", "in")
    out = accel("segment", f"{start}in", *ARGS, *outputs, *files)
    assert out.code == 0, out.out + out.err
    made = [name for name in names(tmp_path) if not name.startswith(("out/.", "m/x/frame"))]
    inputs = ["in/x.mp4", "m.json", "p.json", "z.json"]
    assert made == sorted([*inputs, "m/x/classes.json", "out/x_accel.mp4", "s_x.csv", "t_x.csv"])
    (work,) = works
    assert work.settings.map == f"{tmp_path}/m.json"
    assert work.options.limits.allow == (f"{tmp_path}/in",)


def test_passwords_in_urls_are_neither_shown_nor_stored(accel, done, tmp_path, monkeypatch):
    memory = need("fsspec").filesystem("memory")
    memory.store.clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    video = small.clip(tmp_path / "x.mp4", 5, audio_s=0).read_bytes()
    memory.pipe_file("/drives/x.mp4?token=hunter2", video)
    memory.pipe_file("/drives/y.mp4?token=hunter2", b"no video" * 100)
    inputs = [f"memory://drives/{name}.mp4?token=hunter2" for name in "xy"]
    args = ("-o", "out", "--timing", "t.json", "--allow", "https://ann:hunter2@host/")
    for more in ((), ("--json-progress",)):
        out = accel("segment", *inputs, *ARGS, *args, *more)
        assert out.code == 1
        assert "memory://drives/y.mp4?token=***" in out.out
        assert "hunter2" not in out.out + out.err
    summary = json.loads((tmp_path / "t_x.json").read_bytes())["summary"]
    assert summary["settings"]["input"] == "memory://drives/x.mp4?token=***"
    for name in ("t_x.json", "out/.accel-rt/manifest.jsonl"):
        assert b"hunter2" not in (tmp_path / name).read_bytes()


def test_timings_tell_the_settings_of_one_process(accel, done, fakes, tmp_path):
    path = small.clip(tmp_path / "x.mp4", 5, audio_s=0)
    args = ("segment", path, "--no-video", "--size", "320x192", "--timing", "t.json")
    assert accel(*args).code == 0
    assert accel(*args, "-o", "out", *ARGS).code == 0
    alone, many = (
        json.loads((tmp_path / name).read_bytes())["summary"]["settings"]
        for name in ("t.json", "t_x.json")
    )
    assert alone["size"] == many["size"] == [320, 192]
    assert alone["version"] == many["version"]
    assert alone.keys() <= many.keys()


@pytest.mark.parametrize(("fmt", "name"), [("cvat", "annotations.xml"), ("png", "classes.json")])
def test_files_of_others_among_masks_are_told_of_before_the_work(accel, done, tmp_path, fmt, name):
    path = small.clip(tmp_path / "x.mp4", 5, audio_s=0)
    (tmp_path / "m/x").mkdir(parents=True)
    (tmp_path / "m/x" / name).write_text("made by hand")
    out = accel("segment", path, "-o", "out", *ARGS, "--masks", "m", "--masks-format", fmt)
    assert out.code == 2
    assert f"holds '{name}', which is no mask of an earlier run" in out.error
    assert not done
