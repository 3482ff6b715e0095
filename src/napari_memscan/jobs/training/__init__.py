"""Training a model on a study's cohort, and watching it for memorisation."""
