"""Weight files of unknown origin to tensors and recipes, without running them."""
