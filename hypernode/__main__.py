"""`python -m hypernode` is the `hypernode` command."""

from __future__ import annotations

from hypernode.cli import main

if __name__ == "__main__":
    main()
