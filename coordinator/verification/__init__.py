"""coordinator/verification."""
