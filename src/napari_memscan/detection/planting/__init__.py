"""Copies and near-duplicates made on purpose: what limits are learnt from and tested with."""
