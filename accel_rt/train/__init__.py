"""Training: single frames (DeepLab) and the fusion of two branches."""
