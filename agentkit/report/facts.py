"""Everything a report takes from the ledger, read once: no other module of the report asks the store."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from agentkit.errors import StatsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agentkit.ledger import Campaign, Hypothesis, Run, Status, VerdictRow
    from agentkit.measurements import Measurements
    from agentkit.report.document import Page
    from agentkit.stats.claims import Claim

PATH_POINTS = 200
"""About how many points of a path are drawn."""

_FROM_SPEC = (
    "tool", "params", "contrast", "metric", "direction", "null", "sesoi", "test", "interval", "max_units",
)  # fmt: skip
_FROM_VERDICT = ("estimate", "lo", "hi", "log_e", "level", "k_star", "units", "failed")


@dataclass(frozen=True)
class Finding:
    """One frozen hypothesis and what the ledger says of it now.

    `lo`, `hi` are the ends of C(level), None where there is no bound; `log_e` is None for `invalid`.
    """

    ref: str
    """`H3`: the id that prose cites and that can be typed back."""
    state: str
    close_reason: str
    as_of_seq: int | None
    """Event of the chain that the verdict was computed at; None when none is stored."""
    tool: str
    params: Mapping[str, Any]
    targets: tuple[str, ...]
    contrast: Mapping[str, float]
    metric: str
    metric_range: tuple[float | None, float | None]
    direction: str
    null: float
    sesoi: float
    test: str
    interval: str
    max_units: int
    weight: float
    label: str
    reason: str
    estimate: float | None
    lo: float | None
    hi: float | None
    log_e: float | None
    level: float
    k_star: int
    units: int
    failed: int
    path: tuple[tuple[int, ...], tuple[float, ...]]
    """Units, and log e after so many of them."""
    unadjusted: tuple[float | None, float | None]
    """C(alpha): the interval this hypothesis would have alone, not adjusted for selection."""
    setting: str = ""
    """The params that tell it from another claim of the same words: `budget "passes"`."""

    @property
    def is_open(self) -> bool:
        """Whether units may still be added."""
        return self.state != "closed"

    @property
    def decided(self) -> bool:
        """Whether the label says something about the claim."""
        return self.label in ("supported", "contradicted", "equivalent")


@dataclass(frozen=True)
class Exploration:
    """One explore run: never evidence."""

    ref: str
    tool: str
    tool_version: str
    params: Mapping[str, Any]
    units: int
    failed: int
    measurements: Measurements | None
    """None when no unit came back."""
    pages: tuple[Page, ...] = ()
    """What the tool wrote about it in words."""
    family_p: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Metric, then condition: p-value adjusted over the metric's conditions; empty where nobody asked for it."""


@dataclass(frozen=True)
class ToolWork:
    """What one tool's jobs took, over all runs of a campaign, as its ledger keeps it; no verdict reads it."""

    tool: str
    runs: int
    answered: int
    units: int
    seconds: float
    """On workers, loading included."""
    peak_rss: int
    peak_device_bytes: int
    devices: tuple[str, ...]
    deterministic: bool
    """Whether deterministic algorithms were asked for in every job."""


@dataclass(frozen=True)
class Facts:
    """A campaign as a report shows it."""

    key: str
    alpha: float
    max_hypotheses: int | Literal["open"]
    seed_origin: str
    head: str
    n_campaigns: int
    findings: tuple[Finding, ...]
    explorations: tuple[Exploration, ...]
    n_confirm_runs: int
    attempts: Mapping[str, int]
    """How attempts of all runs ended: status to count."""
    explore_units: Mapping[str, int]
    confirm_units: Mapping[str, int]
    """How units came back: status to count."""
    tools: tuple[tuple[str, str, str], ...]
    """Tool, its version, where it came from; in order of tool."""
    work: tuple[ToolWork, ...] = ()


def evidence_path(
    claim: Claim, values: NDArray[np.float64], failed: NDArray[np.bool_]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Log e after 1, 2, ... units; every k-th and the last where they are more than `PATH_POINTS`."""
    from agentkit.stats.verdicts import log_e_path

    try:
        path = log_e_path(claim, values, failed).tolist()
    except StatsError:  # a value out of range: the verdict is `invalid` and says so
        return (), ()
    n = len(path)
    kept = sorted({*range(1, n + 1, max(1, math.ceil(n / PATH_POINTS))), n} - {0})
    return tuple(kept), tuple(path[k - 1] for k in kept)


def canonical(params: Mapping[str, Any]) -> str:
    """Params on one line, keys sorted."""
    return json.dumps(dict(params), sort_keys=True, ensure_ascii=False)


def read_findings(campaign: Campaign) -> tuple[Finding, ...]:
    """Every frozen hypothesis with its newest verdict, in order of registration.

    An open one is `inconclusive`, reason `open`, whatever its units so far would say: nobody has closed it.
    """
    verdicts = {row.hypothesis: row for row in campaign.verdicts()}
    return told_apart([_finding(campaign, h, verdicts.get(h.id)) for h in campaign.hypotheses()])


def told_apart(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings, each with its setting: params in which claims of the same words differ."""
    return tuple(
        replace(f, setting=_setting(f, [g for g in findings if _words(g) == _words(f)])) for f in findings
    )


def _words(finding: Finding) -> tuple[object, ...]:
    return finding.tool, finding.metric, finding.contrast, finding.direction, finding.null, finding.targets


def _setting(finding: Finding, alike: Sequence[Finding]) -> str:
    names = [n for n, value in finding.params.items() if any(f.params.get(n) != value for f in alike)]
    return ", ".join(f"{n} {json.dumps(finding.params[n], ensure_ascii=False)}" for n in sorted(names))


def read_facts(campaign: Campaign) -> Facts:
    """What the report needs, from one campaign."""
    findings = read_findings(campaign)
    runs = campaign.runs()
    explored = [run for run in runs if run.phase == "explore"]
    families = _families(campaign)
    return Facts(
        key=campaign.key,
        alpha=campaign.alpha,
        max_hypotheses=campaign.max_hypotheses,
        seed_origin=campaign.seed_origin,
        head=campaign.head(),
        n_campaigns=len(campaign.ledger.campaigns()),
        findings=findings,
        explorations=tuple(_exploration(run, run.ref in families) for run in explored),
        n_confirm_runs=len(runs) - len(explored),
        attempts=Counter(attempt.status or "unfinished" for run in runs for attempt in run.attempts()),
        explore_units=Counter(status for run in explored for status in run.outcomes().values()),
        confirm_units=Counter(
            status for run in runs if run.phase == "confirm" for status in run.outcomes().values()
        ),
        tools=_tools(campaign, runs),
        work=_work(campaign, runs),
    )


def _finding(campaign: Campaign, hypothesis: Hypothesis, verdict: VerdictRow | None) -> Finding:
    from agentkit.stats.verdicts import judge

    spec, sample, state = hypothesis.spec, hypothesis.sample(), hypothesis.state
    said: VerdictRow | Status = verdict or campaign.status(hypothesis)
    invalid = said.label == "invalid"
    is_open = state != "closed" and not invalid
    alone = None if invalid else judge(spec.claim, sample.values, sample.failed, campaign.alpha)
    return Finding(
        ref=hypothesis.ref,
        state=state,
        close_reason=hypothesis.close_reason or "",
        as_of_seq=verdict.as_of_seq if verdict else None,
        weight=hypothesis.weight,
        targets=tuple(sorted(spec.targets)),
        metric_range=(spec.low, spec.high),
        label="inconclusive" if is_open else said.label,
        reason="open" if is_open else said.reason,
        path=((), ()) if invalid else evidence_path(spec.claim, sample.values, sample.failed),
        unadjusted=(None, None) if alone is None else (alone.lo, alone.hi),
        **{name: getattr(spec, name) for name in _FROM_SPEC},
        **{name: getattr(said, name) for name in _FROM_VERDICT},
    )


def _families(campaign: Campaign) -> set[str]:
    """Explore runs that were asked for p-values over their whole sweep."""
    answers = [call["answer"] for call in campaign.decisions("call_answered") if call["name"] == "explore"]
    return {a["run"] for a in answers if any("family_p" in metric for metric in a["metrics"].values())}


def _exploration(run: Run, is_family: bool) -> Exploration:
    from agentkit.ledger.family import family_p
    from agentkit.ledger.places import artifacts_folder
    from agentkit.report.pages import pages_of

    outcomes = run.outcomes()
    ok = sum(status == "ok" for status in outcomes.values())
    table = run.measurements() if ok else None
    return Exploration(
        ref=run.ref,
        tool=run.tool,
        tool_version=run.tool_version,
        params=run.params,
        units=ok,
        failed=len(outcomes) - ok,
        measurements=table,
        pages=pages_of(run, artifacts_folder(run.campaign.ledger.store.path)),
        family_p={m: family_p(run, m) for m in table.metrics} if table and is_family else {},
    )


def _tools(campaign: Campaign, runs: Sequence[Run]) -> tuple[tuple[str, str, str], ...]:
    """Tool, version and where it came from, each combination once."""
    origin = {
        (h.spec.tool, h.spec.tool_version): f"{h.spec.distribution} {h.spec.distribution_version}"
        for h in campaign.hypotheses()
    }
    used = {(run.tool, run.tool_version): f"plugin {run.plugin}" for run in runs} | origin
    return tuple((tool, version, source) for (tool, version), source in sorted(used.items()))


def _work(campaign: Campaign, runs: Sequence[Run]) -> tuple[ToolWork, ...]:
    """Per tool, what its workers told of themselves; runs of older ledgers told nothing."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    for attempt in campaign.decisions("work"):
        told.setdefault(attempt["run"], []).append(attempt)
    tools: dict[str, list[Run]] = {}
    for run in runs:
        tools.setdefault(run.tool, []).append(run)
    return tuple(_of_tool(tool, tools[tool], told) for tool in sorted(tools))


def _of_tool(tool: str, runs: Sequence[Run], told: Mapping[str, list[Mapping[str, Any]]]) -> ToolWork:
    attempts = [attempt for run in runs for attempt in told.get(run.ref, [])]
    jobs = [job for attempt in attempts for job in attempt["jobs"]]
    return ToolWork(
        tool=tool,
        runs=len(runs),
        answered=sum(len(run.answered()) for run in runs),
        units=sum(len(run.units) for run in runs),
        seconds=math.fsum((job.get("seconds") or 0.0) + (job.get("load_s") or 0.0) for job in jobs),
        peak_rss=max((job.get("peak_rss") or 0 for job in jobs), default=0),
        peak_device_bytes=max((job.get("peak_device_bytes") or 0 for job in jobs), default=0),
        devices=tuple(sorted({attempt["device"] for attempt in attempts if attempt["device"]})),
        deterministic=all(attempt["deterministic"] is not False for attempt in attempts),
    )
