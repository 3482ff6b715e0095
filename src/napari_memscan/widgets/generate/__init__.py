"""Step 2: draw volumes and scan them."""
