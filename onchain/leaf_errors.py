"""What can be wrong with a leaf file, by name; each docstring is the sentence for people."""

from __future__ import annotations

from onchain.errors import OnchainError


class LeafFileError(OnchainError):
    """This leaf file cannot stand behind a root."""


class LeafFileMalformed(LeafFileError):
    """A leaf file has a head of 80 bytes, then 40 bytes for each leaf that the head counts."""


class LeafFileTooLarge(LeafFileError):
    """A proof of a tree with more leaves fits in no transaction."""


class LeavesUnsorted(LeafFileError):
    """Leaves of a kind stand in the order of their addresses, each address once."""


class LeafIsZero(LeafFileError):
    """A leaf of nothing proves nothing."""


class LeafSumWrong(LeafFileError):
    """The head says another sum than its leaves have, or one beyond 64 bits."""


class NoLeaf(LeafFileError):
    """There is no leaf of this wallet."""
