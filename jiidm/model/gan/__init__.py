"""Generators and discriminators of the GANs that the paper compares with, under the published parameter names."""
