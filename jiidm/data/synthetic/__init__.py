"""Generated landscapes with exact masks."""
