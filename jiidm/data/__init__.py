"""Photos, masks, references and latents on disk, and the landscapes that the kit generates."""
