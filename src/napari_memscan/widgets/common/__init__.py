"""What every view uses: theme, text, messages, background work."""
