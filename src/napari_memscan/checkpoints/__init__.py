"""Models of unknown origin to recipes and tensors, without running anything in them."""
