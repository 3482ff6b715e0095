"""Step 3: the queue, the decision and what is asked for next."""
