"""Owns how a command ends other than well: its exit code and the words for it. Printing them is left to `cli`."""

import os
import sys
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    FAILED = 1
    # The command, a variable or langgraph.json asks for something that cannot be meant; trying again is no use.
    MISUSED = 2
    # What a shell makes of a second Ctrl-C: 128 and the number of the signal.
    ABANDONED = 130
    # What a shell makes of SIGPIPE: whoever read our output, as `head` does, has gone.
    UNREAD = 141


class CommandFailed(Exception):
    """The command cannot go on; the message says what, where and what to do instead."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def leave_output() -> ExitCode:
    """Give up standard output, which nobody reads any more, so that its end is no error either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return ExitCode.UNREAD
