"""hypernode."""
