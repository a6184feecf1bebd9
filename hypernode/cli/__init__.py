"""hypernode/cli."""
