"""One conversation: a lab, a campaign, a planner's session, and turns that end in a code, never in a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit import __version__
from agentkit.agent.planners import chosen_planner
from agentkit.cli.chat.interrupts import Interrupts
from agentkit.cli.chat.narrator import Narrator
from agentkit.cli.chat.saved import saved_files
from agentkit.cli.chat.settings import policy_of
from agentkit.errors import AgentkitError, ApprovalError, LedgerError, unknown
from agentkit.plugins import load_plugins
from agentkit.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agentkit.agent.approvals import Approval, ApprovalRequest
    from agentkit.agent.session import PlannerSession
    from agentkit.cli.chat.events import View
    from agentkit.cli.chat.settings import Settings
    from agentkit.laboratory import Lab
    from agentkit.ledger import Campaign

    Approver = Callable[["Conversation", ApprovalRequest], Approval]

INTERRUPTED = 130


class Conversation:
    """A user, a planner and a campaign.

    Args:
        settings: where, with whom, for how much.
        view: is told everything.
        approver: gives the user's word on a call; None where nobody can be asked.

    Raises:
        ConfigError, PlannerError: an option or the planner's name cannot be right; nothing was opened.
    """

    def __init__(self, settings: Settings, view: View, approver: Approver | None = None) -> None:
        self.settings, self.view, self._approver = settings, view, approver
        self.planner, self.why = chosen_planner(settings.planner)
        self.approve = settings.approve
        self.budget = settings.budget
        self.narrator = Narrator(view)
        self.narrator.saved = self.saved
        self._policy = policy_of(settings.approve)
        self._lab: Lab | None = None
        self._campaign: Campaign | None = None
        self._session: PlannerSession | None = None
        self._plotted_after = 0

    # ---- opening and closing

    def banner(self) -> dict[str, Any]:
        """What is said first; needs no ledger and no model."""
        plugins = load_plugins(modules=self.settings.modules)
        return {
            "version": __version__,
            "planner": self.planner,
            "why": self.why,
            "store": self.settings.store,
            "campaign": self.settings.campaign or "default",
            "workers": self.settings.workers,
            "tools": len(plugins.tools),
            "plugins": len([p for p in plugins.plugins if p.tools]),
            "not_loaded": [str(e) for e in plugins.errors],
            "approve": self.approve,
        }

    def open(self) -> None:
        """Load what is heavy: the ledger, the workers and the planner's library. May run on another thread.

        Raises:
            AgentkitError: the store or the planner cannot be opened; says what would help.
        """
        from agentkit.agent.planners import chat_model
        from agentkit.laboratory import Lab

        plugins = load_plugins(modules=self.settings.modules)
        chat_model(self.planner, plugins)
        self._lab = Lab(
            self.settings.store,
            planner=self.planner,
            workers=self.settings.workers,
            modules=self.settings.modules,
            on_event=self.narrator.on_event,
            warn=self.narrator.on_warning,
        )
        import agentkit.agent.session  # noqa: F401 - takes seconds; here it happens while the user types

    def close(self) -> None:
        """End the workers and close the ledger."""
        if self._lab is not None:
            self._lab.close()

    @property
    def lab(self) -> Lab:
        """The open lab."""
        assert self._lab is not None  # noqa: S101 - `open` comes first
        return self._lab

    @property
    def campaign(self) -> Campaign:
        """The campaign, opened as it was made."""
        if self._campaign is None:
            name = self.settings.campaign or "default"
            known = next((c for c in self.lab.ledger.campaigns() if c.key == name), None)
            if known is None:
                self._campaign = self.lab.campaign(name)
            else:
                alpha, most = known.alpha, known.max_hypotheses
                self._campaign = self.lab.campaign(name, alpha=alpha, max_hypotheses=most)
        return self._campaign

    @property
    def session(self) -> PlannerSession:
        """The planner's session; a new one begins when it is first needed."""
        if self._session is None:
            self._start(None)
        assert self._session is not None  # noqa: S101 - just started
        return self._session

    @property
    def has_session(self) -> bool:
        """Whether anything was said or resumed."""
        return self._session is not None

    @property
    def folder(self) -> Path:
        """Where reports and figures of this campaign are written."""
        return self.lab.artifacts.with_suffix(".report") / self.campaign.key

    def saved(self, run: str) -> list[dict[str, Any]]:
        """The files that a run's tool saved, where they can be opened by name."""
        return saved_files(self.campaign, run, self.lab.artifacts, self.folder / "runs" / run)

    def _start(self, id: str | None) -> None:
        plan = Study(goal="chat", budget=self.budget, approve=self._policy)
        self._session = self.lab.session(
            self.campaign,
            id,
            study=plan,
            planner=self.planner,
            folder=self.folder,
            on_text=self.narrator.on_text,
            on_call=self.narrator.on_call,
            approve=self._ask,
        )
        self.narrator.toolbox = self._session.toolbox
        self.view.tell("session", **self.banner(), id=self._session.id, turns=self._said())

    def _said(self) -> int:
        return sum(m.type == "human" for m in self.session.messages())

    def take_up(self, id: str | None) -> None:
        """Go on with a recorded session: the one named (or the beginning of its id), or the last one of the store.

        Raises:
            LedgerError: there is none, or several fit.
        """
        from agentkit.ledger.sessions import list_sessions

        rows = [r for r in list_sessions(self.lab.ledger.store) if r["turns"] or r["parent"] or id]
        if self.settings.campaign is not None:
            rows = [r for r in rows if r["campaign"] == self.settings.campaign]
        found = rows[-1:] if id is None else [r for r in rows if r["id"].startswith(id.upper())]
        found = found or [r for r in rows if id is not None and r["id"].startswith(id)]
        if not found:
            said = f"no session in {self.lab.ledger.url} yet; say something in a new chat"
            raise LedgerError(said if id is None else unknown("session", id, [r["id"] for r in rows]))
        if len(found) > 1:
            raise LedgerError(f"session {id!r} fits {len(found)} sessions; write more of it")
        (row,) = found
        self._use_campaign(row["campaign"])
        self._start(row["id"])

    def _use_campaign(self, name: str) -> None:
        from dataclasses import replace

        self.settings = replace(self.settings, campaign=name)
        self._campaign = None

    # ---- turns

    def say(self, text: str) -> int:
        """One turn; returns 0, or the exit code of what stopped it."""
        return self._turn(lambda: self.session.send(text), text)

    def resume(self) -> int:
        """Finish what was cut off, or repeat the last words."""
        return self._turn(self.session.resume, None)

    def _turn(self, work: Callable[[], str], text: str | None) -> int:
        try:
            number = self._said() + int(text is not None)
        except AgentkitError as error:
            return self._failed(error)
        self.view.tell("turn", number=number, text=text)
        code, words = 0, ""
        with Interrupts(self.session.toolbox):
            try:
                words = work()
            except KeyboardInterrupt:
                self.session.leave()
                code = INTERRUPTED
                self.view.tell("error", text="turn cancelled; what was measured is kept", fatal=False)
            except ApprovalError as error:
                code = self._failed(error)
            except AgentkitError as error:
                self.session.leave()
                code = self._failed(error)
        self._after(words, code)
        return code

    def _failed(self, error: AgentkitError) -> int:
        self.view.tell("error", text=str(error), code=error.exit_code, fatal=True)
        return error.exit_code

    def _after(self, words: str, code: int) -> None:
        turns = self.session.record.turns()
        if not code and turns and turns[-1].stop_reason == "refusal":
            said = "" if words else " without a word"
            self.view.tell(
                "error", text=f"the model declined{said}; ask otherwise, or change the planner", fatal=False
            )
        if self.narrator.runs_seen > self._plotted_after:
            self._plotted_after = self.narrator.runs_seen
            self._plot()
        account = self.session.account
        self.view.tell("budget", text=account.line(), spent=spent_of(account), final=True)

    def _plot(self) -> None:
        """Write the campaign's report and its figures as they stand."""
        from agentkit.report import write_report

        self.campaign.verdicts()
        try:
            paths = write_report(self.campaign, self.folder, planner=self.planner)
        except AgentkitError as error:
            self.view.tell("error", text=str(error), fatal=False)
            return
        figures = [str(p) for p in paths.figures]
        self.view.tell("report", markdown=str(paths.markdown), html=str(paths.html), figures=figures)

    def _ask(self, request: ApprovalRequest) -> Approval:
        if self._approver is None:
            self.view.tell("approval", call=request.tool, args=dict(request.args), decision=None)
            raise ApprovalError(
                f"{request.tool} waits for approval and nobody can give it here; go on with: "
                f"agentkit resume {self.session.id} --store {self.settings.store} (on a terminal, or with --approve auto)"
            )
        word = self._approver(self, request)
        self.view.tell(
            "approval", call=request.tool, args=dict(word.args or request.args), decision=word.kind
        )
        return word

    # ---- changes on the way

    def change(self, *, planner: str | None = None, approve: str | None = None) -> None:
        """Another planner or another approval policy for the turns to come.

        Raises:
            ConfigError, PlannerError: it cannot be; the old one stays.
        """
        from agentkit.agent.planners import chat_model

        if approve is not None:
            self._policy, self.approve = policy_of(approve), approve
        if planner is not None:
            name, why = chosen_planner(planner)
            chat_model(name, self.lab.plugins)
            self.planner, self.why = name, why
        if self._session is not None:
            self._start(self._session.id)

    def go_to(self, id: str) -> None:
        """Another session of the same campaign."""
        self._start(id)

    def answered_with_a_question(self) -> bool:
        """Whether the planner's last words were a question that its next step waits for."""
        messages = self.session.messages()
        return bool(messages) and messages[-1].response_metadata.get("finish") == "question"


def spent_of(account: Any) -> dict[str, float]:
    """What was spent, by currency."""
    from agentkit.agent.budget import CURRENCIES

    return {c: account.spent(c) for c in CURRENCIES if account.spent(c)}
