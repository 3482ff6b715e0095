"""Pairs of volumes brought to lie on one another, and compared place by place."""
