"""Whether this device computes what it should, and how fast: `jiidm doctor --selftest`."""
