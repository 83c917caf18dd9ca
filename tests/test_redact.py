"""Credentials of URLs are masked, and nothing else is."""

import pytest

from accel_rt.redact import redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:hunter2@cam/stream", "rtsp://***@cam/stream"),
        ("rtsp://hunter2@cam:554/stream", "rtsp://***@cam:554/stream"),
        ("rtsp://admin:hun@ter2@cam/x", "rtsp://***@cam/x"),
        ("rtsp://admin:hun/ter2@cam/x", "rtsp://***@cam/x"),
        ("rtsp://admin:1/hunter2@cam/x", "rtsp://***@cam/x"),
        ("rtsp://admin:#?hunter2@cam/x", "rtsp://***@cam/x"),
        ("RTSP://admin:hunter2@[::1]:554/x", "RTSP://***@[::1]:554/x"),
        ("http://cam/video.cgi?user=a&pwd=hunter2&x=1", "http://cam/video.cgi?user=a&pwd=***&x=1"),
        ("http://cam/v?access_token=hunter2", "http://cam/v?access_token=***"),
        ("http://cam/v?X-Amz-Signature=hunter2&e=3", "http://cam/v?X-Amz-Signature=***&e=3"),
        ("srt://cam:90?mode=caller&passphrase=hunter2", "srt://cam:90?mode=caller&passphrase=***"),
        (
            "rtsp://cam/user=a&password=hunter2&channel=1",
            "rtsp://cam/user=a&password=***&channel=1",
        ),
        ("rtsp://cam/user=a_password=hunter2_channel=1.sdp", "rtsp://cam/user=a_password=***"),
    ],
)
def test_credentials_are_masked_alone_and_within_a_sentence(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert redact(f"cannot open '{url}': connection refused") == (
        f"cannot open '{shown}': connection refused"
    )
    assert redact(f"{url} {url}") == f"{shown} {shown}"
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam:554/stream?channel=1",
        "udp://@239.0.0.1:1234",
        "http://host/people/@ann/video.mp4",
        "http://[::1]:80/x@y",
        "http://host/v?keyframe=2&monkey=3",
        "a folder/with@sign.mp4",
        "password=it is no URL",
        "",
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
