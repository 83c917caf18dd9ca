"""``python -m accel_rt.train``: ``accel-rt train``, in the form that ``torchrun`` starts."""

import sys

from accel_rt.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
