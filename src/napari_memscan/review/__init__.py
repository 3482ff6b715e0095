"""Queue, decisions, and the store that keeps them."""
