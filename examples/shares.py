"""How much of each frame every class covers: python shares.py VIDEO"""

import sys

import accel_rt

segmenter = accel_rt.load_segmenter(accel_rt.SegmenterSettings.preset("balanced"))
with accel_rt.open_source(sys.argv[1]) as source:
    for frame, result in accel_rt.segment_frames(source, segmenter):
        most = sorted(result.shares().items(), key=lambda item: -item[1])[:3]
        print(f"{float(frame.pts):6.2f} s ", ", ".join(f"{n} {s:.0%}" for n, s in most))
