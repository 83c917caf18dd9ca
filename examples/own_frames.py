"""Frames of your own source, one at a time: python own_frames.py VIDEO

Anything that gives uint8 BGR arrays will do; here it is OpenCV's reader.
"""

import sys

import cv2

import accel_rt

segmenter = accel_rt.load_segmenter(accel_rt.SegmenterSettings(interval=5))
capture = cv2.VideoCapture(sys.argv[1])
while True:
    there, frame_bgr = capture.read()
    if not there:
        break
    result = segmenter.step(frame_bgr)
    network_ms = result.timings.get("network", 0.0)
    print(result.index, result.kind, result.labels.shape, f"{network_ms:.0f} ms of network")
result.save("last.png", frame_bgr)
print("last.png shows the last frame")
