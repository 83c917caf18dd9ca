"""Unfinished names, replacing and claims."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from accel_rt.errors import OutputError
from accel_rt.files import Claim, beside, create, replacing, unfinished_path, write_whole


def test_a_file_is_replaced_only_when_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with replacing(path) as file:
        file.write(b"after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(tmp_path / "pipe", "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def fail_half_way(path):
    with replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError):
        fail_half_way(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write '.*no/a': no such file or directory"):
        write_whole(tmp_path / "no" / "a", "text")


def test_new_files_never_follow_links(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    for name in ("link", "dangling", "target"):
        with pytest.raises(FileExistsError):
            create(tmp_path / name)
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "absent").exists()


def test_the_name_of_a_link_is_replaced_and_not_what_it_names(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("letter", ["a", "ä"])
def test_long_names_leave_room_for_the_ending(tmp_path, letter):
    path = tmp_path / (letter * (250 // len(letter.encode())) + ".mp4")
    write_whole(path, "x")
    unfinished = unfinished_path(path, "0123abcd")
    assert len(os.fsencode(unfinished.name)) <= 255
    assert unfinished.name.endswith(".0123abcd.part")
    assert beside(tmp_path / "a.mp4", ".x").name == "a.mp4.x"


def test_unfinished_names_differ_from_run_to_run(tmp_path):
    from accel_rt.files import new_token

    assert len({unfinished_path(tmp_path / "a", new_token()) for _ in range(100)}) == 100


HOLD = """
import sys
from pathlib import Path
from accel_rt.files import Claim
claim = Claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_claim_keeps_others_out_until_its_process_ends(tmp_path):
    path = tmp_path / "out.mp4"
    command = [sys.executable, "-c", HOLD, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=r"out.mp4' is being written by another run"):
            Claim(path)
    finally:
        other.kill()
        other.communicate()
    claim = Claim(path)
    claim.release()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_does_not_follow_links(tmp_path):
    (tmp_path / ".out.mp4.lock").symlink_to(tmp_path / "absent")
    Claim(tmp_path / "out.mp4").release()
    assert not (tmp_path / "absent").exists()
