"""Candidates: the training volumes that a volume may be a copy of."""
