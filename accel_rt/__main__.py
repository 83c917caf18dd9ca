"""``python -m accel_rt``: the ``accel-rt`` command, in the form that ``torchrun`` starts."""

from accel_rt.cli.main import main

if __name__ == "__main__":
    main()
