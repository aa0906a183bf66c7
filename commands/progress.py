"""Owns the bar that shows how far a command is; on anything but a terminal nothing is drawn."""

import sys
from typing import TextIO

_WIDTH = 30


class ProgressBar:
    """One line at the end of the output, drawn anew below each line that is printed above it."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._draws = stream.isatty()
        self._total = 0
        self._done = 0

    def expect(self, total: int) -> None:
        """Count so many steps more."""
        self._total += total
        self._draw()

    def advance(self, line: str) -> None:
        """Print what a step did, and count it."""
        self.clear()
        print(line, flush=True)
        self._done += 1
        self._draw()

    def show(self, done: int, total: int) -> None:
        """Show how far another kind of step is."""
        self.clear()
        self._done, self._total = done, total
        self._draw()

    def clear(self) -> None:
        """Take the bar away."""
        if self._draws:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        if self._draws and self._total:
            # Documents that vanished are steps beyond those that were counted.
            done = min(self._done, self._total)
            filled = _WIDTH * done // self._total
            self._stream.write(f"[{'#' * filled}{' ' * (_WIDTH - filled)}] {done}/{self._total}")
            self._stream.flush()
