"""The settlement program: its C sources, what builds it, and the built files."""

from __future__ import annotations
