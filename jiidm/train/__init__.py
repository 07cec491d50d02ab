"""Training: one loop, and a stage for every network."""
