"""Data sets, class sets and the procedural street."""
