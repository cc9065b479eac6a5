"""What a study would run and cost, and what its store answers already. Nothing is started, drawn or written."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit.agent.batches import BATCH_UNITS
from agentkit.agent.driver import environment_of
from agentkit.errors import AgentkitError, ConfigError
from agentkit.ledger import Ledger, Spec
from agentkit.ledger.dispatch import question_sha256
from agentkit.ledger.memory import known_units
from agentkit.workers import WorkersConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.ledger import Campaign
    from agentkit.plugins import Plugins
    from agentkit.study import ExploreStep, HypothesisStep, Study, StudyFile
    from agentkit.tools import Tool

PROBE_UNITS = 2


@dataclass(frozen=True)
class Step:
    """One exploration or claim: units in all (for a claim at most), those that the store answers, and what is left.

    `seconds` is None where the tool declares no time a unit and nobody has said one.
    """

    kind: str
    what: str
    tool: str
    units: int
    known: int
    runs: int
    seconds: float | None
    state: str


@dataclass(frozen=True)
class Preview:
    """All steps of a study. `usd` and totals are None where they cannot be known before."""

    campaign: str
    planner: str | None
    steps: tuple[Step, ...]
    seconds: float | None
    usd: float | None

    def content(self) -> dict[str, Any]:
        """Plain values, with totals."""
        known, units = sum(s.known for s in self.steps), sum(s.units for s in self.steps)
        totals = {
            "runs": sum(s.runs for s in self.steps),
            "units": units,
            "known": known,
            "to_measure": units - known,
        }
        return {**asdict(self), **totals, "steps": [asdict(s) for s in self.steps]}


def check(file: StudyFile, plugins: Plugins) -> None:
    """Everything that can be known before anything runs.

    Raises:
        ConfigError: each fault on its own line, with its place in the file.
    """
    faults: list[str] = []
    for i, name in enumerate(file.study.tools or []):
        faults += _fault_of(lambda name=name: plugins.tool(name), file.place("tools", i))  # type: ignore[misc]
    for section in ("explore", "hypotheses"):
        for i, step in enumerate(getattr(file.study, section)):
            faults += _fault_of(lambda step=step: _check_step(step, plugins), file.place(section, i))  # type: ignore[misc]
    if faults:
        raise ConfigError("\n".join(faults))


def preview(study: Study, plugins: Plugins) -> Preview:
    """What `agentkit run` would do with this study and this store."""
    config = WorkersConfig.of(study.workers)
    workers = 1 if config.backend == "inline" else config.workers
    plugins = plugins.with_gpus(config.gpus_per_job)  # an answer of the CPU is none of a GPU
    with _Record(study) as campaign:
        steps = [_explore(i, s, plugins, campaign, workers) for i, s in enumerate(study.explore)]
        steps += [_claim(i, s, plugins, campaign, workers) for i, s in enumerate(study.hypotheses)]
    times = [s.seconds for s in steps]
    known = [t for t in times if t is not None]
    return Preview(
        campaign=study.campaign.name,
        planner=study.planner if study.goal else None,
        steps=tuple(steps),
        seconds=sum(known) if len(known) == len(times) else None,
        usd=0.0 if not study.goal or study.planner == "offline" else None,
    )


class _Record:
    """The campaign as its store holds it, opened to be read; None where there is no such store or campaign yet."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._ledger: Ledger | None = None

    def __enter__(self) -> Campaign | None:
        store = self._study.store
        path = Path(store.removeprefix("sqlite:///"))
        if ("://" not in store or store.startswith("sqlite:///")) and not path.exists():
            return None
        self._ledger = Ledger(store, readonly=True)
        for row in self._ledger.campaigns():
            if row.key == self._study.campaign.name:
                return self._ledger.reopen(row.key)
        return None

    def __exit__(self, *exception: object) -> None:
        if self._ledger is not None:
            self._ledger.close()


def _explore(
    index: int, step: ExploreStep, plugins: Plugins, campaign: Campaign | None, workers: int
) -> Step:
    known = _known(step, step.units, plugins, campaign)
    left = step.units - known
    return Step(
        kind="explore",
        what=f"explore[{index}]",
        tool=step.tool,
        units=step.units,
        known=known,
        runs=int(left > 0),
        seconds=_seconds(plugins.tool(step.tool), left, workers),
        state="answered" if not left else "partly answered" if known else "new",
    )


def _claim(
    index: int, step: HypothesisStep, plugins: Plugins, campaign: Campaign | None, workers: int
) -> Step:
    spec = _spec(step, plugins)
    hypothesis = None if campaign is None else campaign.find(spec)
    if hypothesis is None:
        probe = PROBE_UNITS - _known(step, PROBE_UNITS, plugins, campaign)
        return Step(
            kind="confirm",
            what=f"hypotheses[{index}]",
            tool=step.tool,
            units=step.max_units + PROBE_UNITS,
            known=PROBE_UNITS - probe,
            runs=math.ceil(step.max_units / BATCH_UNITS) + int(probe > 0),
            seconds=_seconds(plugins.tool(step.tool), step.max_units + probe, workers),
            state="new",
        )
    drawn = hypothesis.sample().values.size
    closed = hypothesis.state == "closed"
    left = 0 if closed else step.max_units - drawn
    return Step(
        kind="confirm",
        what=hypothesis.ref,
        tool=step.tool,
        units=drawn if closed else step.max_units,
        known=drawn,
        runs=math.ceil(left / BATCH_UNITS),
        seconds=_seconds(plugins.tool(step.tool), left, workers),
        state="answered" if closed else "registered",
    )


def _known(
    step: ExploreStep | HypothesisStep, units: int, plugins: Plugins, campaign: Campaign | None
) -> int:
    if campaign is None:
        return 0
    params = plugins.tool(step.tool).parse(step.params)
    targets = plugins.fingerprints(plugins.target_uris(params.model_dump(mode="json")))
    question = question_sha256(plugins.tool(step.tool), params.model_dump(mode="json"), targets)
    return len(known_units(campaign, question, units, environment_of(plugins.tool(step.tool))))


def _spec(step: HypothesisStep, plugins: Plugins) -> Spec:
    params = plugins.tool(step.tool).parse(step.params)
    return Spec.build(plugins, step.tool, params, **step.model_dump(exclude={"tool", "params", "claim"}))


def _seconds(tool: Tool, units: int, workers: int) -> float | None:
    if units == 0:
        return 0.0
    return None if tool.seconds_per_unit is None else tool.seconds_per_unit * units / workers


def _check_step(step: Any, plugins: Plugins) -> None:
    tool = plugins.tool(step.tool)
    params = tool.parse(step.params)
    plugins.fingerprints(plugins.target_uris(params.model_dump(mode="json")))
    if step.metric is not None:
        tool.metric(step.metric)


def _fault_of(check: Callable[[], object], place: str) -> list[str]:
    try:
        check()
    except AgentkitError as error:
        return [f"{place}: {error}"]
    return []
