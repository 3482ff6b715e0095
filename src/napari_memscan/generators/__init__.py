"""Recipe and weights to synthetic volumes, one denoising step at a time."""
