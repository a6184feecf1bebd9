"""Policies and verdicts: whether a result is what its specification asked for. Pure."""
