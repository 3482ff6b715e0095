"""Files to volumes: cohort, importers, reader, preprocessing, cache."""
