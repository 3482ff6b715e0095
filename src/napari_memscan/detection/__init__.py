"""From arrays and vectors to candidates, registered pairs, p-values, verdicts and metrics."""
