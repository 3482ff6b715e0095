"""Membership inference: whether a volume was in the training set."""
