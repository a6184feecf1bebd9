"""The coordinator: matches jobs with agents, verifies results, keeps the ledger."""
