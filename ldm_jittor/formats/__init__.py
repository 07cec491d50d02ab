"""Other projects' checkpoint files and parameter names."""
