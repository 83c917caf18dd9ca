"""Sizes are ``(height, width)`` inside; people write and read ``WxH``."""

from __future__ import annotations


def wxh(size: tuple[int, ...]) -> str:
    """``(360, 640)`` as ``640x360``."""
    height, width = size
    return f"{width}x{height}"
