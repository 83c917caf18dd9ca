"""The package's own face."""

import subprocess
import sys

import pytest

import accel_rt


def test_every_public_name_is_there() -> None:
    for name in accel_rt.__all__:
        assert getattr(accel_rt, name) is not None


def test_dir_lists_the_interface_alone() -> None:
    assert dir(accel_rt) == sorted(accel_rt.__all__)


def test_unknown_names_say_so() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = accel_rt.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import accel_rt, sys; print([m for m in ('torch', 'cv2', 'av') if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
