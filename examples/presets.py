"""What each preset costs on your machine: python presets.py VIDEO"""

import sys
import time

import accel_rt

with accel_rt.open_source(sys.argv[1]) as source:
    frames = [frame.image_bgr for frame, _ in zip(source, range(50), strict=False)]
for preset in ("accurate", "balanced", "fast", "fastest"):
    segmenter = accel_rt.load_segmenter(accel_rt.SegmenterSettings.preset(preset))
    segmenter.push(frames[0])  # the first frame prepares what the others use
    segmenter.flush()
    segmenter.reset()
    started = time.perf_counter()
    results = [result for frame in frames for result in segmenter.push(frame)]
    results += segmenter.flush()
    print(f"{preset:9} {1e3 * (time.perf_counter() - started) / len(results):6.1f} ms a frame")
