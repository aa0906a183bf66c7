"""Owns how the demo looks on the terminal; what happens in it is told by the acts."""

import shutil
import sys
import textwrap

_LABEL_WIDTH = 11
_WIDEST = 118


class Screen:
    """Lines with a label in front, and text that arrives word by word."""

    def __init__(self) -> None:
        self._width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
        self._column = 0
        self._must_break = False

    def title(self, text: str) -> None:
        """Begin an act."""
        self._end_words()
        print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}\n{'-' * len(text)}", flush=True)

    def line(self, label: str, text: str) -> None:
        """Tell one thing."""
        self._end_words()
        room = self._width - _LABEL_WIDTH
        paragraphs = [textwrap.wrap(each, room) or [""] for each in text.splitlines() or [""]]
        first, *others = [line for paragraph in paragraphs for line in paragraph]
        print(f"{label:<{_LABEL_WIDTH}}{first}")
        for other in others:
            print(" " * _LABEL_WIDTH + other)
        sys.stdout.flush()

    def words(self, label: str, text: str) -> None:
        """Tell a part of something that arrives bit by bit; the label is shown in front of the first part."""
        if not self._column:
            print(f"{label:<{_LABEL_WIDTH}}", end="")
            self._column = _LABEL_WIDTH
        for piece in text.splitlines(keepends=True):
            if piece.strip():
                self._word(piece)
            self._must_break |= piece.endswith("\n")

    def _word(self, piece: str) -> None:
        if self._must_break or self._column + len(piece.rstrip()) > self._width:
            print("\n" + " " * _LABEL_WIDTH, end="")
            self._column = _LABEL_WIDTH
            self._must_break = False
        print(piece.rstrip("\n"), end="", flush=True)
        self._column += len(piece)

    def _end_words(self) -> None:
        if self._column:
            print()
        self._column = 0
        self._must_break = False
