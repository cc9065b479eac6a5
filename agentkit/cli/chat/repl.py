"""The loops: a terminal that asks for lines, and a pipe in which every line is a turn."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from agentkit.cli.chat.approving import Approver
from agentkit.cli.chat.commands import Quit, run_command
from agentkit.cli.chat.conversation import INTERRUPTED, Conversation
from agentkit.cli.chat.lines import JsonLines
from agentkit.cli.chat.terminal import Terminal
from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.agent.approvals import Approval, ApprovalRequest
    from agentkit.cli.chat.events import View
    from agentkit.cli.chat.reading import Reader
    from agentkit.cli.chat.settings import Settings

STOPPING = (3, 4)
"""Exit codes after which a pipe's further lines could only fail the same way: budget, approval."""


def chat(settings: Settings, *, session: str | None, last: bool, unfinished: bool = False) -> int:
    """Talk until the user leaves; returns the exit code.

    Args:
        settings: where, with whom, for how much.
        session: a recorded session to go on with.
        last: go on with the newest session.
        unfinished: finish what that session was in the middle of, even if it failed or was cancelled; without a
            terminal do nothing else.
    """
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not settings.as_json
    if interactive:
        return Interactive(settings, session=session, last=last, unfinished=unfinished).run()
    view: View = JsonLines() if settings.as_json else Terminal()
    conversation = Conversation(settings, view)
    return _ended(
        conversation, lambda: _pipe(conversation, session=session, last=last, unfinished=unfinished)
    )


def ask(settings: Settings, goal: str) -> int:
    """One goal, then the end; exit code 4 when the planner asks back and nobody can answer."""
    live = sys.stdin.isatty() and sys.stdout.isatty() and not settings.as_json
    terminal = Terminal()
    conversation = Conversation(settings, JsonLines() if settings.as_json else terminal)
    if live:
        from agentkit.cli.chat.reading import Reader

        reader = Reader([], list)
        conversation = Conversation(settings, terminal, Approver(terminal, reader.answer, reader.edit))

    def work() -> int:
        conversation.open()
        code = conversation.say(goal)
        if not code and conversation.answered_with_a_question():
            text = f"the planner needs an answer; give it with: agentkit chat --session {conversation.session.id}"
            conversation.view.tell("error", text=text, code=4, fatal=True)
            return 4
        return code

    return _ended(conversation, work)


def _ended(conversation: Conversation, work: Callable[[], int]) -> int:
    """Run to the end, whatever happens; the last event says how it went."""
    try:
        code = work()
    except AgentkitError as error:
        code = error.exit_code
        conversation.view.tell("error", text=str(error), code=code, fatal=True)
    except KeyboardInterrupt:
        code = INTERRUPTED
    id = conversation.session.id if conversation.has_session else None
    conversation.close()
    conversation.view.tell("end", code=code, session=id)
    return code


def _pipe(conversation: Conversation, *, session: str | None, last: bool, unfinished: bool) -> int:
    conversation.open()
    code = _taken_up(conversation, session, last=last, unfinished=unfinished)
    if unfinished or code in STOPPING:
        return code
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            done = run_command(conversation, line) if line.startswith("/") else conversation.say(line.strip())
        except Quit:
            break
        code = code or done
        if done in STOPPING:
            return done
    return code


def _taken_up(conversation: Conversation, session: str | None, *, last: bool, unfinished: bool) -> int:
    """Open the recorded session, and finish what it was in the middle of."""
    if session is None and not last:
        return 0
    conversation.take_up(session)
    return conversation.resume() if unfinished or conversation.session.was_cut_off() else 0


class Interactive:
    """A chat on a terminal: the prompt is there at once, while the heavy parts load behind it."""

    def __init__(self, settings: Settings, *, session: str | None, last: bool, unfinished: bool) -> None:
        self.view = Terminal()
        self._wanted = (session, last, unfinished)
        self._conversation = Conversation(settings, self.view, self._approve)
        self._fault: AgentkitError | None = None
        self._reader: Reader | None = None

    def run(self, reader: Reader | None = None) -> int:
        """Talk until the user leaves; another reader than the keyboard's may be given."""
        self.view.banner(self._conversation.banner())
        loading = threading.Thread(target=self._load, daemon=True)
        keyboard = None if reader else self._keyboard()
        self._reader = reader or keyboard
        if keyboard is not None and self._wanted[:2] == (None, False):
            keyboard.when_first_shown(loading.start)  # the two would only slow each other down
        else:
            loading.start()
        assert self._reader is not None  # noqa: S101 - one of the two
        self._approver = Approver(self.view, self._reader.answer, self._reader.edit)
        return _ended(self._conversation, lambda: self._talk(loading))

    def _keyboard(self) -> Reader:
        from agentkit.cli.chat.reading import Reader
        from agentkit.plugins import load_plugins

        return Reader(sorted(load_plugins(modules=self._conversation.settings.modules).tools), self._ids)

    def _approve(self, conversation: Conversation, request: ApprovalRequest) -> Approval:
        return self._approver(conversation, request)

    def _load(self) -> None:
        try:
            self._conversation.open()
        except AgentkitError as error:
            self._fault = error
            self._interrupt_prompt()

    def _interrupt_prompt(self) -> None:
        """Nothing that is typed now could be answered: end the prompt."""
        app = getattr(getattr(self._reader, "session", None), "app", None)
        if app is not None and app.loop is not None:
            app.loop.call_soon_threadsafe(lambda: app.is_running and app.exit(exception=EOFError()))

    def _ids(self) -> list[str]:
        from agentkit.cli.chat.why import ids

        return ids(self._conversation) if self._conversation.has_session else []

    def _talk(self, loading: threading.Thread) -> int:
        session, last, unfinished = self._wanted
        if session is not None or last:
            self._ready(loading)
            _taken_up(self._conversation, session, last=last, unfinished=unfinished)
        warned = False
        while True:
            try:
                line = self._reader_line()
                warned = False
            except KeyboardInterrupt:
                if warned:
                    return 0
                warned = True
                self.view.show("Ctrl-C again, Ctrl-D or /quit leaves", None)
                continue
            except EOFError:
                if self._fault is not None:
                    raise self._fault from None
                return 0
            try:
                self._answer(line, loading)
            except Quit:
                return 0

    def _reader_line(self) -> str:
        assert self._reader is not None  # noqa: S101 - made before the first line
        return self._reader.line()

    def _answer(self, line: str, loading: threading.Thread) -> None:
        if not line.strip():
            return
        if line.strip() in ("/quit", "/exit", "exit", "quit"):
            raise Quit
        self._ready(loading)
        if line.startswith("/"):
            run_command(self._conversation, line)
        else:
            self._conversation.say(line.strip())

    def _ready(self, loading: threading.Thread) -> None:
        if loading.ident is None:
            loading.start()
        if loading.is_alive():
            self.view.thinking("loading")
            loading.join()
            self.view.rest()
        if self._fault is not None:
            raise self._fault
