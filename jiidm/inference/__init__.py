"""From masks and references to an output folder, and to a submission."""
