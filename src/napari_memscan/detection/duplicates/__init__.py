"""Volumes that are twice in a cohort."""
