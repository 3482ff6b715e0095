"""Drawing volumes from a study's generator."""
