"""The competition kit: data, training, inference and submission around `ldm_jittor`."""
