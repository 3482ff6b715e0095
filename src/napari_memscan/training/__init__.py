"""Fits autoencoder, denoiser and embedder to a cohort."""

DEFAULT_EMBEDDER = "contrastive"
"""What ``memscan train embedder`` trains when no kind is named; see `training.settings`."""
