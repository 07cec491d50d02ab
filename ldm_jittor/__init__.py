"""The latent-diffusion core in Jittor: arrays and modules, nothing else."""
