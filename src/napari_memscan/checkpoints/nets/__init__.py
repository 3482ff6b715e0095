"""Networks of published latent diffusion models that MONAI has no counterpart for."""
