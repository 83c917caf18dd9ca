"""Frames in, labels out: keyframe policy, cache, segmenter and pipeline."""
