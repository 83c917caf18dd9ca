"""Optical flow between consecutive frames.

Flow is *backward*: ``O(I_{i-1}, I_i)`` gives, for each position in the current frame, the
displacement ``(dx, dy)`` to where it was in the previous one. A source returns it on the feature
grid, in cells.
"""
