"""The scripted API: one object that binds store, workers, planner and plugins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from agentkit.agent.budget import Account
from agentkit.agent.driver import Driver
from agentkit.agent.offloop import OffLoop
from agentkit.agent.preview import check
from agentkit.agent.scripted import confirm_all, explore_all, register_all
from agentkit.agent.toolbox import Toolbox
from agentkit.canon import sha256_of
from agentkit.errors import ConfigError, ToolError
from agentkit.ledger import Ledger
from agentkit.ledger.places import artifacts_folder
from agentkit.plugins import load_plugins
from agentkit.prompts import prompt
from agentkit.report import verdict_table, write_report
from agentkit.study import BudgetSection, Study, StudyFile, load_study
from agentkit.workers import StatusFile, WorkersConfig, open_executor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agentkit.agent.outside import OutsideServers
    from agentkit.agent.session import PlannerSession
    from agentkit.ledger import Campaign, Hypothesis
    from agentkit.measurements import Measurements
    from agentkit.study import ApprovalSection, Budget
    from agentkit.tools import Tool
    from agentkit.workers import Event, Executor

PLAN_PROMPT = "plan@v1"


@dataclass(frozen=True)
class Result:
    """What a study or a goal left behind."""

    campaign: str
    verdicts: tuple[dict[str, Any], ...]
    head: str
    text: str = ""
    report: Path | None = None
    html: Path | None = None


class Lab:
    """Binds a ledger, workers, a planner and plugins. Use it as a context manager.

    Args:
        store: path or URL of the ledger; it is made when it does not exist.
        planner: `offline`, `anthropic:MODEL`, the prefix of an installed planner, or a LangChain chat model.
        workers: `inline`, `local`, `local:2`, or a mapping with the keys of the YAML block `workers`.
        modules: import paths of modules that implement agentkit's hooks, for tools that are not installed.
        notify: receives one line per event, for people.
        on_event: receives every event of every job (progress bars).
        warn: receives what went wrong or is nearly spent; `notify` unless given.
        takeover: take a campaign from a driver that holds it and hangs; it can write no more.
    """

    def __init__(
        self,
        store: str | Path = "sqlite:///agentkit.db",
        *,
        planner: Any = "offline",
        workers: str | Mapping[str, Any] = "local",
        modules: Sequence[str] = (),
        notify: Callable[[str], None] = lambda line: None,
        on_event: Callable[[Event], None] = lambda event: None,
        takeover: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._workers = WorkersConfig.of(workers)
        self.plugins = load_plugins(modules=modules).with_gpus(self._workers.gpus_per_job)
        self.planner = planner
        self._modules = tuple(modules)
        self._notify = notify
        self._warn = warn or notify
        self._on_event = on_event
        self._executor: Executor | None = None
        self._outside: list[OutsideServers] = []
        self._acting: Toolbox | None = None
        self._off_loop = OffLoop(self.stop)
        self.ledger = Ledger(_with_folder(store), takeover=takeover)
        self.artifacts = artifacts_folder(self.ledger.store.path)
        self._status = StatusFile(self.artifacts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._off_loop.run(self.close)
        self._off_loop.close()

    def stop(self) -> None:
        """End what this lab does now, from another thread: jobs are cancelled, and what was recorded stays."""
        if self._acting is not None:
            self._acting.stop()

    def close(self) -> None:
        """End the workers and other servers, and close the ledger."""
        while self._outside:
            self._outside.pop().close()
        if self._executor is not None:
            self._executor.close()
            self._executor = None
            self._status.remove()
        self.ledger.close()

    def campaign(
        self,
        name: str = "default",
        *,
        alpha: float = 0.05,
        max_hypotheses: int | Literal["open"] = 100,
        seed: int | None = None,
    ) -> Campaign:
        """Open or create a campaign; `seed` makes its root seed declared instead of drawn (and reports say so)."""
        return self.ledger.campaign(name, alpha=alpha, max_hypotheses=max_hypotheses, root_seed=seed)

    def open_campaign(self, name: str) -> Campaign:
        """The campaign of that name as it was opened, or a new one with the defaults."""
        known = any(c.key == name for c in self.ledger.campaigns())
        return self.ledger.reopen(name) if known else self.campaign(name)

    def explore(
        self,
        tool: str | Tool,
        *,
        units: int = 8,
        campaign: Campaign | None = None,
        fresh: bool = False,
        **params: Any,
    ) -> Measurements:
        """Run one tool for `units` units, record it as exploration, and return its table.

        A question that the campaign has answered is answered from the ledger; with `fresh` it is measured again as
        well, and compared.

        Raises:
            NondeterministicError: `fresh` gave other numbers.
            ParamError: unknown tool or params. TargetError: the target cannot be loaded.
        """
        toolbox = self.toolbox(campaign or self.campaign(), fresh=fresh)
        name = tool if isinstance(tool, str) else tool.name
        answer = toolbox.call(
            _next_call(toolbox), "explore", {"tool": name, "params": params, "units": units}
        )
        return self.ledger.run(answer["run"]).measurements()

    def register(self, campaign: Campaign, **spec: Any) -> Hypothesis:
        """Freeze a claim: the keys of a study's `hypotheses` entry. Returns the hypothesis."""
        toolbox = self.toolbox(campaign)
        answer = toolbox.call(_next_call(toolbox), "register", spec)
        return self.ledger.hypothesis(answer["hypothesis"])

    def confirm(self, campaign: Campaign) -> list[dict[str, Any]]:
        """Draw fresh units for every open claim until it is decided, futile or at its last unit; the verdicts."""
        confirm_all(self.toolbox(campaign, session="confirm"), campaign.hypotheses())
        return verdict_table(campaign)

    def ask(
        self,
        goal: str,
        *,
        campaign: Campaign,
        steps: Sequence[Mapping[str, Any]] = (),
        budget: Budget | None = None,
        tools: Sequence[str] | None = None,
    ) -> Result:
        """Let the planner work on a goal; returns its closing words (`text`) and the campaign's verdicts.

        The same goal in the same campaign goes on with its own session. `tools` are the only ones it may call.
        """
        session = _session_id("ask", {"campaign": campaign.key, "goal": goal, "steps": list(steps)})
        plan = Study(
            goal=goal,
            tools=None if tools is None else list(tools),
            budget=BudgetSection(**budget.model_dump()) if budget else BudgetSection(),
        )
        toolbox = self.toolbox(campaign, session=session, study=plan)
        text = self._plan(toolbox, goal, [dict(s) for s in steps], plan)
        return self.result(campaign, text=text, goal=goal)

    # ---- the same for callers with an event loop: done in one thread, one after the other; a caller that is
    # cancelled ends the jobs that run for it

    async def aexplore(self, tool: str | Tool, **options: Any) -> Measurements:
        """`explore`, awaited."""
        return await self._off_loop.run(partial(self.explore, tool, **options))

    async def aregister(self, campaign: Campaign, **spec: Any) -> Hypothesis:
        """`register`, awaited."""
        return await self._off_loop.run(partial(self.register, campaign, **spec))

    async def aconfirm(self, campaign: Campaign) -> list[dict[str, Any]]:
        """`confirm`, awaited."""
        return await self._off_loop.run(partial(self.confirm, campaign))

    async def aask(self, goal: str, **options: Any) -> Result:
        """`ask`, awaited."""
        return await self._off_loop.run(partial(self.ask, goal, **options))

    async def arun(self, study: str | Path | StudyFile, **options: Any) -> Result:
        """`run`, awaited."""
        return await self._off_loop.run(partial(self.run, study, **options))

    def session(
        self,
        campaign: Campaign,
        id: str | None = None,
        *,
        study: Study | None = None,
        planner: Any = None,
        folder: Path | None = None,
        **options: Any,
    ) -> PlannerSession:
        """A conversation with a planner: a new one, or the recorded one that is named; use its `send` and `resume`.

        Args:
            campaign: where everything it does is recorded.
            id: a recorded session (or the beginning of its id), or None.
            study: budget, approvals and allowed tools; its other keys are not used.
            planner: another planner than the lab's.
            folder: where the planner's reports and their figures are written; nowhere unless given.
            options: fields of `agentkit.agent.session.Options`, such as `approve` and `on_text`.
        """
        os.environ.setdefault("LANGSMITH_TRACING", "false")  # before langchain is imported
        from agentkit.agent.opening import new_session_id
        from agentkit.ledger.sessions import find_session

        key = new_session_id() if id is None else find_session(campaign, id).id
        toolbox = self.toolbox(campaign, session=key, study=study, folder=folder)
        return self._session(toolbox, study, planner, **options)

    def run(self, study: str | Path | StudyFile, *, resume: bool = False, fresh: bool = False) -> Result:
        """Run a study file to its verdicts and its report.

        Args:
            study: a path, or a study that was read.
            resume: go on with a campaign that already holds runs.
            fresh: measure again what the ledger would answer for an exploration, and compare.

        Raises:
            ConfigError: a fault in the file, or a campaign that already holds runs and `resume` is false.
            BudgetError: a cap is reached; what was recorded stays.
        """
        file = study if isinstance(study, StudyFile) else load_study(study)
        plan = file.study
        check(file, self.plugins)
        section = plan.campaign
        campaign = self.campaign(
            section.name, alpha=section.alpha, max_hypotheses=section.max_hypotheses, seed=plan.seed
        )
        if campaign.runs() and not resume:
            raise ConfigError(
                f"campaign {section.name!r} in {self.ledger.url} already holds {len(campaign.runs())} runs; "
                "go on with --resume, or name another campaign or store"
            )
        folder = Path(plan.report) if plan.report else None
        toolbox = self.toolbox(
            campaign, session=_session_id("study", _identity(plan)), study=plan, folder=folder, fresh=fresh
        )
        register_all(toolbox, [h.model_dump() for h in plan.hypotheses])
        steps = [s.model_dump(exclude_none=True) for s in plan.explore]
        text = self._plan(toolbox, plan.goal, steps, plan) if plan.goal else ""
        if not plan.goal:
            explore_all(toolbox, steps)
        confirm_all(toolbox, campaign.hypotheses())
        return self.result(campaign, folder, text=text, goal=plan.goal or "")

    def result(
        self, campaign: Campaign, folder: Path | None = None, *, text: str = "", goal: str = ""
    ) -> Result:
        """Verdicts of a campaign as they stand, with a report when a folder is given."""
        campaign.verdicts()
        paths = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            paths = write_report(campaign, folder, planner=self._planner_name, goal=goal)
        return Result(
            campaign=campaign.key,
            verdicts=tuple(verdict_table(campaign)),
            head=campaign.head(),
            text=text,
            report=paths.markdown if paths else None,
            html=paths.html if paths else None,
        )

    def toolbox(
        self,
        campaign: Campaign,
        *,
        session: str = "lab",
        study: Study | None = None,
        folder: Path | None = None,
        fresh: bool = False,
    ) -> Toolbox:
        """The door through which this lab acts on a campaign."""
        budget = study.budget if study else None

        def report() -> dict[str, Any]:
            result = self.result(campaign, folder, goal=(study.goal or "") if study else "")
            return {
                "verdicts": list(result.verdicts),
                "report": str(result.report or ""),
                "head": result.head,
            }

        self._acting = Toolbox(
            campaign,
            self.plugins,
            Driver(
                self._open_executor(),
                self.plugins,
                on_event=self._on_event,
                account=_account(budget, self._warn),
                status=self._status,
            ),
            report=report,
            session=session,
            fresh=fresh,
            allow=study.tools if study else None,
            notify=self._notify,
            warn=self._warn,
        )
        return self._acting

    @property
    def _planner_name(self) -> str:
        return self.planner if isinstance(self.planner, str) else type(self.planner).__name__

    def _plan(self, toolbox: Toolbox, goal: str, steps: Sequence[dict[str, Any]], plan: Study) -> str:
        session = self._session(toolbox, plan)
        template = prompt(PLAN_PROMPT)
        toolbox.campaign.decide(
            "framework",
            "planner",
            {"planner": self._planner_name, "goal": goal, "prompt": PLAN_PROMPT, "sha256": template.sha256},
        )
        from agentkit.agent.offline.model import goal_message

        text = session.resume() if session.messages() else session.send(goal_message(goal, steps))
        if toolbox.refusals and not any(run.answered() for run in toolbox.campaign.runs()):
            raise ToolError(f"nothing could be run: {toolbox.refusals[0]}")
        return text

    def _session(
        self, toolbox: Toolbox, study: Study | None = None, planner: Any = None, **options: Any
    ) -> PlannerSession:
        os.environ.setdefault(
            "LANGSMITH_TRACING", "false"
        )  # nothing leaves this machine unless the user says so
        from agentkit.agent.planners import chat_model
        from agentkit.agent.session import Options, PlannerSession

        chosen = self.planner if planner is None else planner
        template = prompt(PLAN_PROMPT)
        told: dict[str, Any] = {
            "planner": chosen if isinstance(chosen, str) else type(chosen).__name__,
            "prompt": (PLAN_PROMPT, template.sha256),
        }
        if study is not None:
            told |= {
                "policy": self._with_outside(toolbox, study),
                "fallbacks": [chat_model(f, self.plugins) for f in study.fallback],
            }
        model = chat_model(chosen, self.plugins) if isinstance(chosen, str) else chosen
        return PlannerSession(model, toolbox, template.fill(), Options(**{**told, **options}))

    def _with_outside(self, toolbox: Toolbox, study: Study) -> ApprovalSection:
        """The study's approvals, after its other MCP servers were started for this planner."""
        if not study.mcp_servers:
            return study.approve
        from agentkit.agent.outside import OutsideServers, policies

        self._outside.append(servers := OutsideServers(study.mcp_servers))
        if taken := sorted({n.partition(".")[0] for n in self.plugins.tools} & set(study.mcp_servers)):
            raise ConfigError(f"mcp_servers.{taken[0]}: a plugin's tools have this name; choose another")
        toolbox.outside = servers.tools
        return study.approve.model_copy(update={"tools": policies(servers.tools, study.approve.tools)})

    def _open_executor(self) -> Executor:
        if self._executor is None:
            self._executor = open_executor(self._workers, modules=self._modules, artifacts=self.artifacts)
        return self._executor


def lab(store: str | Path = "sqlite:///agentkit.db", **options: Any) -> Lab:
    """Open a lab: `with agentkit.lab("sqlite:///lab.db", workers="local:2") as lab: …`. See `Lab` for options."""
    return Lab(store, **options)


def _account(budget: BudgetSection | None, warn: Callable[[str], None]) -> Account:
    if budget is None:
        return Account(warn=warn)
    return Account(budget, per_tool=budget.per_tool, campaign=budget.campaign, warn=warn)


def _with_folder(store: str | Path) -> str | Path:
    """The store, after its folder exists (a study may name a folder of its own for what it makes)."""
    text = str(store)
    path = (
        Path(text.removeprefix("sqlite:///")) if "://" not in text or text.startswith("sqlite:///") else None
    )
    if path is not None and path.name:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"store {text}: folder {path.parent} cannot be made ({error.strerror})"
            ) from None
    return store


def _identity(plan: Study) -> dict[str, Any]:
    """What makes two runs of a study the same study: not where it is stored or how many workers run it."""
    return plan.model_dump(mode="json", exclude={"store", "workers", "report", "budget", "approve"})


def _session_id(kind: str, content: Any) -> str:
    return f"{kind}-{sha256_of(content)[:12]}"


def _next_call(toolbox: Toolbox) -> str:
    return f"call-{len(toolbox.campaign.decisions('call_started')) + 1}"
