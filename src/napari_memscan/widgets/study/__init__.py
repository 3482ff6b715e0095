"""Step 1: open or create a study."""
