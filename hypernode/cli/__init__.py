"""The `hypernode` command. What a command needs is imported when it runs: `--help` stays fast."""

from __future__ import annotations

import sys


def version_text() -> str:
    """Name and version of what is installed, or that this is a source tree."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"hypernode {version('hypernode')}"
    except PackageNotFoundError:
        return "hypernode (a source tree, not installed)"


def main() -> None:
    """Run the command line; exits with the status that `hypernode.cli.exit` explains."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        # Before anything else is loaded: scripts ask for it often.
        sys.stdout.write(version_text() + "\n")
        return
    try:
        from hypernode.cli.app import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130  # it came while the program was still loading
    sys.exit(status)
