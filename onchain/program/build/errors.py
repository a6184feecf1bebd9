"""What the build refuses, by name.

Rules:
  1. Whatever is wrong with a source, an object or a linked program ends in one of these.
  2. The message names the place (object, section, function, instruction) and what to do.
"""

from __future__ import annotations


class BuildError(Exception):
    """The program cannot be built as it stands."""


class CompilerMissing(BuildError):
    """The compiler is not installed."""


class CompileError(BuildError):
    """The compiler refuses a source; its words are the message."""


class ObjectError(BuildError):
    """An object file is not what a BPF compiler writes."""


class LinkError(BuildError):
    """The objects do not make one program."""


class SyscallRefused(LinkError):
    """A function is neither defined nor a system call that the program may use."""


class ProgramError(BuildError):
    """A linked file is not one that the loader takes."""


class InstructionRefused(BuildError):
    """An instruction that the VM refuses, or gives another meaning than the compiler did."""


class FrameExceeded(InstructionRefused):
    """A function reaches outside its stack frame of 4 KiB."""


class VersionsDiffer(BuildError):
    """The two files of one program do not do the same."""


class NotReproduced(BuildError):
    """A committed file is not what its sources give."""
