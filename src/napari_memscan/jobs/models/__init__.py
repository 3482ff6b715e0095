"""Studies made from a cohort and a model, and checkpoints converted."""
