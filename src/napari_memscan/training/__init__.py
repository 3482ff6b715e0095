"""Fits autoencoder, denoiser and embedder to a cohort."""
