"""Volume to vector: the paper's contrastive embedder, and others behind the same interface."""
