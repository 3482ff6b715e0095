"""From scores to calls with a bounded share of mistakes, and to verdicts."""
