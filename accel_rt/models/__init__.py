"""Feature networks, task networks, flow networks and the fusion of two branches."""
