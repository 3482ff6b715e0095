"""Intervals, proportions, ROC and the checks of their inputs."""
