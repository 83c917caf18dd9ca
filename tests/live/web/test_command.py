from __future__ import annotations

import pytest

from accel_rt.cli.main import run


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--serve", ":0", "--token", "x" * 20, "--token-file", "none"], "not both"),
        (["--serve", ":0", "--token-file", "none"], "'none' cannot be read: no such file"),
        (["--serve", ":0", "--token-file", "/dev/null"], "must hold a token and nothing else"),
        (["--serve", "127.0.0.1:0", "--token", "short"], "at least 16 characters, got 5"),
        (["--serve", "http://localhost"], "an address is HOST:PORT"),
    ],
)
def test_a_bad_address_is_said_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert run(["live", "no-such-file.mp4", *options]) == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert "opening" not in message
