"""What can go wrong in words a user can act on.

Every message says which file or setting, what was expected, and what to do.
"""

from __future__ import annotations


class MemscanError(Exception):
    """Anything a person can mend; front ends show its text and never a traceback."""


class BadInput(MemscanError, ValueError):
    """The input is not what it should be. The command line ends with exit code 2."""


class JobFailed(MemscanError, RuntimeError):
    """The input was fine and the job still failed. The command line ends with exit code 1."""
