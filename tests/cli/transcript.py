"""A real chat, written down as it stands on a screen: `python -m tests.cli.transcript` prints it.

Only times and session ids are replaced, by `…`: the campaign's root seed is declared, so its numbers are the same again.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path

from rich.console import Console

from agentkit.cli.chat.wrapping import Wrapped

LINES = (
    "does gaussian noise of 0.5 lower the accuracy of the digits classifier by more than 0.1? 50 images, register and test it",
    "/why H1",
    "/quit",
)
ANSWERS = ("y",)
SEED = 1
WIDTH = 110


class Typist:
    """Types the lines and answers, and leaves them on the screen as a terminal would."""

    def __init__(self, screen) -> None:
        self._screen, self._lines, self._answers = screen, iter(LINES), iter(ANSWERS)

    def line(self) -> str:
        return self._typed("you> ", next(self._lines))

    def answer(self, question: str) -> str:
        return self._typed(question, next(self._answers))

    def edit(self, text: str) -> str:
        raise AssertionError("nothing is edited here")

    def _typed(self, question: str, text: str) -> str:
        self._screen.rest()
        self._screen.console.print(f"{question}{text}", markup=False)
        return text


def transcript() -> str:
    """What a chat in a new folder shows."""
    from agentkit.cli.chat import repl
    from agentkit.cli.chat.settings import Settings
    from agentkit.ledger import Ledger

    with Ledger("agentkit.db") as ledger:
        ledger.campaign("default", root_seed=SEED)
    chat = repl.Interactive(
        Settings(workers="inline", planner="offline"),
        session=None,
        last=False,
        unfinished=False,
    )
    screen = chat.view
    shown = io.StringIO()
    screen.console = Console(file=shown, width=WIDTH, highlight=False)
    screen._words = Wrapped(shown.write, WIDTH - 2, 2)
    code = chat.run(Typist(screen))
    assert code == 0, shown.getvalue()
    return f"$ agentkit chat\n{normalised(shown.getvalue())}"


def normalised(text: str) -> str:
    """Without what differs from run to run: seconds, session ids; and without blanks at line ends."""
    text = re.sub(r"\b[\d.]+ (s|min|h)\b(?= {2}exploratory|; decided)", r"… \1", text)
    text = re.sub(r"\b01[0-9A-Z]{24}\b", "01…", text)
    text = re.sub(r"; (time not known yet|about [\d.…]+ \w+)", "; about … s", text)
    text = re.sub(r"^│(.*?) *│$", lambda line: f"│{line[1]:<{WIDTH - 2}}│", text, flags=re.M)
    text = re.sub(r"\b[0-9a-f]{12,16}…", "…", text)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(transcript(), end="")
        assert Path("agentkit.report/default/report.html").exists()
