"""Vectors to neighbours, threshold, verdicts and metrics."""
