"""Lines that were told already, taken out of words that arrive in pieces."""

from __future__ import annotations


class Unsaid:
    """Holds a line back only as long as it may still be one of `told`."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self._line: str | None = ""
        """What of a line waits; None once the line was passed on."""

    def pass_on(self, text: str) -> str:
        """What of a piece, and of what waited, is to be shown now."""
        return "".join(map(self._next, text))

    def end(self) -> str:
        """The words are over: what still waits, unless it is a whole line that was told."""
        line, self._line = self._line or "", ""
        return "" if line in self.told else line

    def _next(self, character: str) -> str:
        if self._line is None:
            self._line = "" if character == "\n" else None
            return character
        line = self._line + character
        if character == "\n":
            self._line = ""
            return "" if line[:-1] in self.told else line
        if any(t.startswith(line) for t in self.told):
            self._line = line
            return ""
        self._line = None
        return line
