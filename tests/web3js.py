"""`@solana/web3.js` for one test: the version, and where a copy of it is found or put."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

#: The last of its major version, which most pages and wallets still speak.
WEB3JS: Final = "@solana/web3.js@1.99.0"
#: Where one is that was installed before: no registry is asked then.
FOLDER: Final = "HYPERNODE_WEB3JS"
_INSTALL_S: Final = 30


def web3js_folder(scratch: Path) -> Path | None:
    """A folder in which node finds the package; None where node, npm or a registry is missing."""
    if shutil.which("node") is None:
        return None
    if given := os.environ.get(FOLDER):
        return Path(given)
    if shutil.which("npm") is None:
        return None
    # Nothing of the package runs but what the test calls, and a registry out of reach is given up.
    how = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=0"]
    install = ["npm", "install", *how, WEB3JS]
    try:
        done = subprocess.run(
            install, cwd=scratch, capture_output=True, timeout=_INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return scratch if done.returncode == 0 else None
