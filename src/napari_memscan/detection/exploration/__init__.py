"""A threshold moved by hand, and a map of embeddings."""
