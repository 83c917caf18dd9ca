"""The newest picture of a camera or stream: python live.py SOURCE

SOURCE is 0 for the first camera, a URL, or a file, which is played at its own pace.
"""

import sys

import accel_rt

source = int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1]
for picture in accel_rt.live(source, accel_rt.LiveSettings(interval=5, legend=False)):
    print(picture.index, picture.kind, picture.labels.shape)
