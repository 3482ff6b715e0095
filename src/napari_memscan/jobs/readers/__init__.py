"""Several readers of one study: blind readings and how far they agree."""
