"""Networks built from a config, and the files that hold them."""
