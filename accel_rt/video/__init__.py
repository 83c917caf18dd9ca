"""Video in and out: sources, writers, overlays, masks and the timing log."""
