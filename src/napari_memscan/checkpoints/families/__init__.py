"""One module a family of checkpoints: how it looks, and how it becomes recipe and weights."""
