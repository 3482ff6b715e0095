"""Finds the patients that a 3D latent diffusion model copied into its synthetic volumes."""
