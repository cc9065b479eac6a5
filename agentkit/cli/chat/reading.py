"""Reading lines on a terminal: history, completion of commands, tools and ids, and a small editor for arguments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.shortcuts import CompleteStyle

from agentkit.cli.chat.commands import COMMANDS
from agentkit.cli.chat.settings import POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prompt_toolkit.document import Document

EDIT_HELP = "change the arguments, then Ctrl-S (or Esc Enter) to accept, Ctrl-C to leave them as they were"


class Reader:
    """Asks for lines, short answers, and changed texts.

    Args:
        tools: names of tools.
        ids: gives the ids that exist now; empty while nothing is open.
    """

    def __init__(self, tools: Sequence[str], ids: Callable[[], Sequence[str]]) -> None:
        self.session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=Words(tools, ids),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # no empty lines kept below the prompt for a menu
        )

    def when_first_shown(self, act: Callable[[], None]) -> None:
        """Do something as soon as the user can type."""
        left = [act]

        def shown(app: Any) -> None:
            if left:
                left.pop()()

        self.session.app.after_render += shown

    def line(self) -> str:
        """The user's next words. Raises EOFError on Ctrl-D, KeyboardInterrupt on Ctrl-C."""
        return self.session.prompt(FormattedText([("bold ansigreen", "you> ")]))

    def answer(self, question: str) -> str:
        """A short answer, kept out of the history."""
        return PromptSession[str]().prompt(FormattedText([("bold ansicyan", question)]))

    def edit(self, text: str) -> str:
        """A changed text; the cursor starts at its end. Raises KeyboardInterrupt to give up."""
        keys = KeyBindings()

        @keys.add("c-s")
        @keys.add("escape", "enter")
        def _(event: Any) -> None:
            event.current_buffer.validate_and_handle()

        session: PromptSession[str] = PromptSession(multiline=True, key_bindings=keys)
        return session.prompt("", default=text, bottom_toolbar=EDIT_HELP)


class Words(Completer):
    """Slash commands, what may follow them, tools' names and ids."""

    def __init__(self, tools: Sequence[str], ids: Callable[[], Sequence[str]]) -> None:
        self._tools, self._ids = tools, ids

    def get_completions(self, document: Document, complete_event: Any) -> Iterable[Completion]:
        """What the word before the cursor may become."""
        text = document.text_before_cursor
        word = text.rpartition(" ")[2]
        for candidate in self._candidates(text, word):
            if candidate.casefold().startswith(word.casefold()) and candidate != word:
                yield Completion(candidate, start_position=-len(word))

    def _candidates(self, text: str, word: str) -> Iterator[str]:
        command, space, _ = text.partition(" ")
        if text.startswith("/") and not space:
            yield from (f"/{name}" for name in COMMANDS)
        elif command == "/approve":
            yield from POLICIES
        elif command in ("/planner", "/model"):
            yield from ("offline", "anthropic:", "auto")
        elif command == "/why":
            yield from self._ids()
        elif command == "/tools" or "." in word:
            yield from self._tools
        elif len(word) > 1 and word[0] in "HR" and word[1:].isdigit():
            yield from self._ids()


def _history() -> Any:
    """A file of the user's own; none where it cannot be written."""
    root = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "agentkit"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = root / "chat_history"
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))
