"""Results with round numbers."""

from __future__ import annotations

from accel_rt.bench.harness import Samples
from accel_rt.bench.models import BASELINE, Model
from accel_rt.bench.ops import Measured
from accel_rt.bench.run import Results
from accel_rt.bench.stream import FrameTime, ModelTimes
from accel_rt.runtime.settings import SegmenterSettings

_KEY = FrameTime("key", 90.0, 0.0, {"network": 89.0, "flow": 0.5, "output": 0.5})
_UPDATE = FrameTime("update", 30.0, 24.0, {"network": 26.0, "flow": 3.0, "output": 1.0})

ACCEL = ModelTimes(
    Model("made up", SegmenterSettings(interval=3)),
    (_KEY, _UPDATE, _UPDATE) * 2,
    Samples((153.0, 150.0, 147.0)),
    512.0,
)
"""At interval 3: keyframes of 90 ms, others of 30 of which 27 are network and flow."""

RESULTS = Results(
    [
        Measured(
            "flow_warp",
            "8x8",
            "float32",
            {"flow_warp": "ours", "grid_sample": "peer", "other": "peer", "memcpy": "limit"},
            {
                "flow_warp": Samples((2.0, 2.0)),
                "grid_sample": Samples((8.0, 8.0)),
                "other": Samples((20.0, 20.0)),
                "memcpy": Samples((1.0, 1.0)),
            },
            bytes=4_000_000,
            flops=0,
            skipped=(),
        ),
        Measured(
            "deform_conv2d",
            "512x4x4",
            "bfloat16",
            {"deform_conv2d": "ours", "F.conv2d": "limit"},
            {"deform_conv2d": Samples((2.0,)), "F.conv2d": Samples((1.0,))},
            bytes=0,
            flops=10**9,
            skipped=("torchvision: not here",),
        ),
    ],
    [ModelTimes(BASELINE, (FrameTime("key", 600.0),) * 2, Samples((600.0, 600.0))), ACCEL],
    device="cpu",
    precision="bfloat16",
    threads=2,
)
