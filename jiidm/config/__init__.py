"""Settings: their names, types and bounds, and how a YAML file becomes them."""
