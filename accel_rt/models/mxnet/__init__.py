"""Checkpoints of the paper's authors, who used MXNet: read without it."""
