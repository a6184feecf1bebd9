"""The coordinator's task that reads the chain, closes epochs and publishes their roots."""

from __future__ import annotations
