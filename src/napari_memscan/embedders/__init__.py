"""Volume to vector: the paper's contrastive embedder, and others behind the same interface."""

LOW_RESOLUTION = "low-resolution"
"""Name of the training-free embedder, on the command line and in ``study.toml``."""
