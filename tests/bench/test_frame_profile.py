"""The profile of a frame is one of networks in torch, and of frames that there are."""

import pytest
from click.testing import CliRunner

from accel_rt.runtime.settings import SegmenterSettings
from benchmarks import frame_profile


def test_keyframes_alone_have_no_update_frame_to_profile() -> None:
    result = CliRunner().invoke(frame_profile.main, ["--model", "DeepLab-Lite2"])
    assert result.exit_code == 2
    assert "every frame of DeepLab-Lite2 is a keyframe: add --kind key" in result.output


def test_networks_run_in_torch_where_integers_would_be_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def load(settings: SegmenterSettings) -> None:
        asked.append(settings.backend)
        raise KeyboardInterrupt

    monkeypatch.setattr(frame_profile, "load_segmenter", load)
    CliRunner().invoke(frame_profile.main, ["--model", "Accel-Lite0"])
    assert asked == ["torch"]
