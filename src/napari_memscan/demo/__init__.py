"""A phantom cohort and small trained checkpoints: the whole job on an embedded example."""
