"""Weight files that accel-rt finds by this package's entry point ``accel_rt.weights``."""
