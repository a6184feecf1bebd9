"""Where an upload in parts goes on: what both ends' clients read of an answer.

Source: draft-ietf-httpbis-resumable-upload-12 (`Upload-Offset`, `application/partial-upload`).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

#: Content type of a part.
PARTIAL: Final = "application/partial-upload"
_NUMBER: Final = re.compile(r"[0-9]{1,15}\Z")


def upload_offset(status: int, said: str, size: int) -> int:
    """The byte where an upload goes on; its first one where the answer makes no sense.

    Args:
        status: Of the answer to `HEAD`.
        said: Its `Upload-Offset`, or "".
        size: Bytes of the blob.
    """
    if status != HTTPStatus.OK or _NUMBER.match(said) is None:
        return 0
    here = int(said)
    return here if here <= size else 0
