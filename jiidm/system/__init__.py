"""The machine: device, environment, and what is missing."""
