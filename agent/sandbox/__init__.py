"""agent/sandbox."""
