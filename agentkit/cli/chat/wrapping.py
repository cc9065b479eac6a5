"""Words that arrive in pieces, broken into lines between words as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


HANGING = 2
PLAN = "plan"
PARTS_OF_A_PLAN = ("metric", "explore")
"""Words that begin a line of their own in a plan: what is read, and what it takes; what is run stands first."""


class Wrapped:
    """Writes pieces of text, never past a width, with an indent on every line it begins.

    A line that begins with `plan` is broken before its parts, which stand below each other.

    Args:
        write: where characters go.
        width: columns; None leaves lines as they come.
        indent: columns before every line.
    """

    def __init__(self, write: Callable[[str], None], width: int | None, indent: int = 0) -> None:
        self._write, self._width, self._indent = write, width, " " * indent
        self._column = 0
        self._word = ""
        self._space = ""
        self._last = ""
        self._hanging = HANGING
        self.open = False
        """Whether a line was begun and not ended."""

    def add(self, text: str) -> None:
        """Take in one piece."""
        for character in text:
            if character == "\n":
                self._flush()
                self._write("\n")
                self._column, self._space, self.open = 0, "", False
            elif character == " ":
                self._flush()
                self._space += " "
            else:
                self._word += character

    def end(self) -> None:
        """Write what waits, and end the line."""
        self._flush()
        if self.open:
            self._write("\n")
        self._column, self._space, self.open = 0, "", False

    def _flush(self) -> None:
        if not self._word:
            return
        wide = self._column + len(self._space) + len(self._word)
        if not self._column:
            self._hanging = len(PLAN) + 2 if self._word == PLAN else HANGING
        too_wide = self._width is not None and wide > self._width
        if self._column and (too_wide or self._begins_a_part()):
            self._write("\n")
            self._column, self._space, self.open = 0, "", False
            hanging = " " * self._hanging
        else:
            hanging = ""
        if not self._column:
            self._write(self._indent + hanging)
            self._column = len(self._indent) + len(hanging)
        self._write(self._space + self._word)
        self._column += len(self._space) + len(self._word)
        self._last, self._word, self._space, self.open = self._word, "", "", True

    def _begins_a_part(self) -> bool:
        return self._hanging > HANGING and self._last.endswith(";") and self._word in PARTS_OF_A_PLAN
