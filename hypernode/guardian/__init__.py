"""The guardian: a process of its own that recomputes each root, and approves or cancels it."""

from __future__ import annotations
