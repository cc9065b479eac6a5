"""`agentkit calibrate TOOL`: does this tool, through the real ledger, find something where nothing is?

A/A runs: one condition of the tool is measured on two unrelated seeds per unit and the pair is judged as if the
second were a perturbation. Every claim is then a true null, so every `supported` or `contradicted` is false.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from agentkit.agent.driver import Driver, job_of
from agentkit.canon import sha256_of
from agentkit.cli.output import emit, say
from agentkit.cli.pairs import pair
from agentkit.errors import ConfigError, ParamError, unknown
from agentkit.ledger import Ledger, Spec
from agentkit.plugins import load_plugins
from agentkit.seeds import derive_seed, numpy_rng
from agentkit.stats.fixed import sign_flip_p
from agentkit.testing import again, run_tool
from agentkit.types import BASELINE, Unit
from agentkit.workers import WorkersConfig, open_executor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from agentkit.ledger import Campaign, Hypothesis, Run
    from agentkit.plugins import Plugins
    from agentkit.tools import Tool
    from agentkit.workers import JobSpec

CAMPAIGNS = 20
MOST_BAD_CAMPAIGNS = 4
"""At a false discovery rate of 5 % in each of 20 campaigns, more than 4 bad ones have probability 0.0026."""
LEAST_KS_P = 0.001
UNITS, BATCH_UNITS = 16, 8
"""A claim needs about 14 units before any evidence can reach its threshold: fewer could never be false."""
SESOI = {"bounded_mean": 0.1, "sign": 0.5, "sharp": 0.0}
DIRECTIONS = ("greater", "less", "two_sided")


@dataclass(frozen=True)
class Question:
    """One condition and metric of the tool."""

    condition: str
    metric: str


def calibrate(
    name: str, params: Sequence[str], *, hypotheses: int, store: str | None, workers: str, as_json: bool
) -> None:
    """Run the A/A campaigns and the determinism checks; exit 1 when any of them fails."""
    if hypotheses < 2 * CAMPAIGNS:
        raise ConfigError(
            f"--hypotheses {hypotheses}: at least {2 * CAMPAIGNS}, to fill {CAMPAIGNS} campaigns"
        )
    began = time.monotonic()
    config = WorkersConfig.parse(workers)
    plugins = load_plugins(modules=[again.__name__]).with_gpus(config.gpus_per_job)
    tool = plugins.tool(name)
    values = tool.parse(dict(pair(p) for p in params)).model_dump(mode="json")
    questions, deterministic = _look(tool, values)
    folder = tempfile.TemporaryDirectory(prefix="agentkit-calibrate-") if store is None else nullcontext("")
    with folder as temporary:
        where = store or f"sqlite:///{Path(temporary) / 'calibrate.db'}"
        with Ledger(where) as ledger:
            executor = open_executor(config, modules=[again.__name__])
            try:
                driver = _WholeBatches(executor, plugins)
                found = _campaigns(ledger, driver, plugins, tool, values, questions, hypotheses)
            finally:
                executor.close()
            report = ledger.verify()
            result = {"tool": name, "params": values, **deterministic, **_result(found)}
        result["verified_events"] = report.events
        result["seconds"] = round(time.monotonic() - began, 1)
        same = deterministic["largest_difference_of_repeats"] <= tool.atol
        result["checks"]["repeats, splits and orders give the same numbers"] = same
    emit(result, _text(result), as_json=as_json)
    if not all(result["checks"].values()):
        raise typer.Exit(1)


class _WholeBatches(Driver):
    """One job per worker and batch: encoders pad to full rows, and a job of one small unit would be mostly padding."""

    def _jobs(self, run: Run, tool: Tool, units: Sequence[Unit], *, one_by_one: bool) -> Sequence[JobSpec]:
        if one_by_one:
            return super()._jobs(run, tool, units, one_by_one=True)
        whole, size = job_of(run, tool, units), -(-len(units) // self._n_workers)
        return [whole.only(units[i : i + size]) for i in range(0, len(units), size)]

    @property
    def _n_workers(self) -> int:
        return max(1, len(self._executor.capacity().workers))


def _look(tool: Tool, values: dict[str, Any]) -> tuple[list[Question], dict[str, Any]]:
    """The questions that can be asked, and whether order, split and repetition leave the numbers alone."""
    units = [Unit(index=i, seed=derive_seed("calibrate", i)) for i in range(4)]
    whole = run_tool(tool, values, units)
    backwards = run_tool(tool, values, units[::-1])  # a second call, in another order
    alone = run_tool(tool, values, units[:1])
    spread = {m: np.nanstd(whole.array(m), axis=0) for m in whole.metrics}
    varies = {c: [m for m in whole.metrics if spread[m][i] > 0] for i, c in enumerate(whole.conditions)}
    questions = _in_turn(varies)
    if not questions:
        raise ParamError(
            f"{tool.name}: no metric of any condition changes with the unit; nothing can be calibrated"
        )
    differences = [_largest(whole, backwards), _largest(whole.select(units=[units[0].index]), alone)]
    return questions, {"largest_difference_of_repeats": max(differences), "atol": tool.atol}


def _in_turn(varies: Mapping[str, Sequence[str]]) -> list[Question]:
    """Metrics and conditions in turn; every second question is about the untouched target, which costs least to ask."""
    perturbed = [c for c in varies if c != BASELINE]
    longest = max((len(metrics) for metrics in varies.values()), default=0)
    found: list[Question] = []
    for k in range(longest):
        for condition in perturbed or [BASELINE]:
            for name in dict.fromkeys((condition, BASELINE)):
                metrics = varies.get(name, ())
                found += [Question(name, metrics[(k + len(found)) % len(metrics)])] if metrics else []
    return found


def _largest(one: Any, other: Any) -> float:
    if set(one.conditions) != set(other.conditions):
        raise ParamError(unknown("condition", other.conditions[-1], one.conditions))
    pairs = [(one.column(m, c), other.column(m, c)) for m in one.metrics for c in one.conditions]
    return max(float(np.nanmax(np.abs(a - b))) for a, b in pairs)


def _campaigns(
    ledger: Ledger,
    driver: Driver,
    plugins: Plugins,
    tool: Tool,
    values: dict[str, Any],
    questions: Sequence[Question],
    total: int,
) -> list[list[Hypothesis]]:
    found = []
    each = -(-total // CAMPAIGNS)
    for i in range(CAMPAIGNS):
        campaign = ledger.campaign(f"aa-{sha256_of([tool.name, values])[:8]}-{i}", max_hypotheses=each)
        specs = list(_specs(plugins, tool, values, questions, first=i * each, count=each))
        closed = [_confirm(campaign, driver, spec) for spec in specs]
        found.append(closed)
        labels = [v.label for v in campaign.verdicts()]
        say(f"campaign {i + 1} of {CAMPAIGNS}: {sum(_is_false(x) for x in labels)} false of {len(labels)}")
    return found


def _specs(
    plugins: Plugins,
    tool: Tool,
    values: dict[str, Any],
    questions: Sequence[Question],
    *,
    first: int,
    count: int,
) -> Iterator[Spec]:
    """Claims that are all null: questions, tests and directions in turn, each with seeds of its own."""
    for k in range(first, first + count):
        question = questions[k % len(questions)]
        test = ("bounded_mean", "sign", "sharp")[k % 3]
        if test == "bounded_mean" and not tool.metric(question.metric).bounded:
            test = "sign"
        params = {
            "tool": tool.name,
            "params": values,
            "condition": question.condition,
            "metric": question.metric,
            "number": k,
        }
        yield Spec.build(
            plugins,
            again.NAME,
            params,
            condition=again.SECOND,
            metric="scaled" if test == "bounded_mean" else "raw",
            direction=DIRECTIONS[k % len(DIRECTIONS)],
            sesoi=SESOI[test],
            test=test,
            max_units=UNITS,
            targets=plugins.fingerprints(plugins.target_uris(params)),
            known_conditions=(BASELINE, again.SECOND),
        )


def _confirm(campaign: Campaign, driver: Driver, spec: Spec) -> Hypothesis:
    """Draw batches and look after each, as an impatient planner would."""
    hypothesis = campaign.find(spec) or campaign.register(spec, allow_underpowered=True)
    while hypothesis.state != "closed":
        status = campaign.status(hypothesis)
        if status.units and (status.decided or status.units_left <= 0):
            campaign.close(hypothesis, "decided" if status.decided else "max_units")
            break
        environment = driver.environment(spec.tool)
        driver.finish(campaign.start_confirm(hypothesis, BATCH_UNITS, environment=environment))
    return hypothesis


def _is_false(label: str) -> bool:
    return label in ("supported", "contradicted", "invalid")


def _result(campaigns: Sequence[Sequence[Hypothesis]]) -> dict[str, Any]:
    labels = [[v.label for v in closed[0].campaign.verdicts()] for closed in campaigns]
    bad = sum(any(_is_false(x) for x in row) for row in labels)
    vectors = [h.differences() for closed in campaigns for h in closed]
    values = [d[~failed] for d, failed in vectors]
    p_values = np.array([_p_value(d, i) for i, d in enumerate(values)])
    ks_p = _too_small_p(p_values)
    repeats = _repeated_vectors(values)
    return {
        "true_nulls": len(values),
        "units": int(sum(len(d) for d, _ in vectors)),
        "failed_units": int(sum(failed.sum() for _, failed in vectors)),
        "false_labels": sum(_is_false(x) for row in labels for x in row),
        "bad_campaigns": bad,
        "campaigns": len(labels),
        "false_discovery_rate": bad / len(labels),
        "ks_p": ks_p,
        "repeated_vectors": repeats,
        "checks": {
            f"at most {MOST_BAD_CAMPAIGNS} campaigns with a false label": bad <= MOST_BAD_CAMPAIGNS,
            f"sign-flip p-values not too small (KS p >= {LEAST_KS_P})": ks_p >= LEAST_KS_P,
            "no two hypotheses saw the same numbers": repeats == 0,
        },
    }


def _p_value(differences: NDArray[np.float64], i: int) -> float:
    return float(sign_flip_p(differences, rng=numpy_rng(derive_seed("calibrate", i), "flips")))


def _too_small_p(p_values: NDArray[np.float64]) -> float:
    """One-sided KS: are the p-values smaller than uniform? Discrete metrics make them larger, which is harmless."""
    from scipy.stats import kstest

    return float(kstest(p_values, "uniform", alternative="greater").pvalue)


def _repeated_vectors(values: Sequence[NDArray[np.float64]]) -> int:
    """Hypotheses whose differences equal another's: their seeds, or the tool's use of them, leak.

    Vectors that are mostly one value (a recall that hardly ever moves) may agree by chance and are left out.
    """
    telling = [d[:UNITS] for d in values if len(d) and 2 * Counter(d.tolist()).most_common(1)[0][1] <= len(d)]
    return sum(n - 1 for n in Counter(d.tobytes() for d in telling).values())


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"{result['tool']}: {result['true_nulls']} true nulls in {result['campaigns']} campaigns, "
        f"{result['units']} units, {result['seconds']:.0f} s",
        f"campaigns with a false label: {result['bad_campaigns']} (false discovery rate {result['false_discovery_rate']:.3f}), "
        f"false labels {result['false_labels']}, failed units {result['failed_units']}",
        f"KS of sign-flip p-values against too-small: p = {result['ks_p']:.3f}",
        f"largest difference between repeats, splits and orders: {result['largest_difference_of_repeats']:g} "
        f"(the tool allows {result['atol']:g})",
        *(f"{'ok  ' if good else 'FAIL'}  {check}" for check, good in result["checks"].items()),
    ]
    return "\n".join(lines)
