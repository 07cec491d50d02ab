"""The networks and formulas that score images."""
