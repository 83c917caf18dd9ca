"""Says when something enters a part of the picture: python zone_alarm.py VIDEO [CLASS]"""

import sys

import accel_rt

wanted = sys.argv[2] if len(sys.argv) > 2 else "car"
segmenter = accel_rt.load_segmenter(accel_rt.SegmenterSettings.preset("fast"))
(label,) = segmenter.classes.indices([wanted])
inside = False
with accel_rt.open_source(sys.argv[1]) as source:
    for frame, result in accel_rt.segment_frames(source, segmenter):
        height, width = result.labels.shape
        zone = result.labels[height // 2 :, width // 3 : 2 * width // 3]
        share = (zone == label).mean()
        if (share > 0.05) != inside:
            inside = not inside
            print(f"{float(frame.pts):.2f} s: {wanted} {'enters' if inside else 'leaves'}")
print(f"at the end the zone is {'not ' * (not inside)}occupied")
