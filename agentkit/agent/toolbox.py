"""The one door through which anything is explored, registered, confirmed or closed, by a planner or a script.

Every call is recorded before it starts and after it is answered. A call whose id was answered before is
answered from the record; one that was cut off goes on with the run it had begun. So a study that was
killed anywhere continues as if nothing had happened.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from agentkit.agent import calls
from agentkit.agent.answers import (
    batch_line,
    explore_answer,
    explore_lines,
    formula,
    plan_answer,
    status_answer,
)
from agentkit.agent.budget import CAMPAIGN, SESSION, spent_since
from agentkit.agent.call_record import CallRecord
from agentkit.agent.replay import compare, measure
from agentkit.agent.surface import tools_answer
from agentkit.errors import (
    NondeterministicError,
    ParamError,
    SpecError,
    StoppedError,
    ToolError,
    unknown,
)
from agentkit.ledger import Spec
from agentkit.ledger.counts import count_runs, spent_on_models
from agentkit.ledger.ledger import is_run, no_verdict
from agentkit.ledger.listing import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from agentkit.agent.driver import Driver
    from agentkit.agent.outside import OutsideTool
    from agentkit.ledger import Campaign, Hypothesis, Run
    from agentkit.plugins import Plugins
    from agentkit.tools import Params

Answer = dict[str, Any]
PROBE_UNITS = 2
"""Units explored before a claim about conditions that nobody has explored yet: they name the conditions."""


class Toolbox:
    """What a planner may do in one campaign.

    Args:
        campaign: where everything is recorded.
        plugins: what is installed.
        driver: runs what a run still misses.
        report: writes the report and returns its paths and verdict rows (handed in by the lab).
        session: prefix of call ids that is the same whenever the same study is run again.
        fresh: measure again, and compare, what an exploration would be answered with from the record.
        allow: names of tools that may be called; all when None.
        notify: receives one line per event, for people.
        warn: receives what went wrong beside that: failed units. `notify` unless given.
    """

    def __init__(
        self,
        campaign: Campaign,
        plugins: Plugins,
        driver: Driver,
        *,
        report: Callable[[], Answer],
        session: str,
        fresh: bool = False,
        allow: Collection[str] | None = None,
        notify: Callable[[str], None] = lambda line: None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.campaign = campaign
        self.plugins = plugins
        self._driver = driver
        self._write_report = report
        self.session = session
        self._fresh = fresh
        self._stopped = False
        self._allow = None if allow is None else set(allow)
        self.account = driver.account
        self._notify = notify
        self._warn = warn or notify
        self.outside: Mapping[str, OutsideTool] = {}
        """Tools of other servers that a planner may ask; they are no part of the campaign."""
        self.refusals: list[str] = []
        """What planners were refused in this session, in order; the graph keeps it for the lab."""
        # calls of one turn arrive in parallel threads; the store has one writer
        self._lock = threading.Lock()
        self._record = CallRecord(campaign, session)
        self._carry_spending()

    @property
    def tool_names(self) -> list[str]:
        """The perturbation tools that may be called here, by name."""
        return sorted(n for n in self.plugins.tools if self._allow is None or n in self._allow)

    def ask_outside(self, name: str, args: Mapping[str, Any]) -> Answer:
        """What a tool of another server says; its seconds count, and the planner's session keeps the words."""
        reservation = self.account.reserve(name, seconds=0.0)
        began = time.monotonic()
        try:
            return self.outside[name].call(args)
        finally:
            reservation.settle(name, seconds=time.monotonic() - began)

    def cancel(self) -> bool:
        """End the jobs that run now, from any thread; the call they belong to is answered with an error."""
        return self._driver.cancel()

    def stop(self) -> None:
        """End what runs now, from any thread, and refuse whatever is asked next."""
        self._stopped = True
        self._driver.refuse(True)
        self._driver.cancel()

    def refuse_runs(self, refusing: bool) -> None:
        """Start no further jobs until told otherwise; calls that want some are answered with an error."""
        self._driver.refuse(refusing)

    def cost(self, name: str, args: Mapping[str, Any]) -> Answer:
        """What a call would take, before it is made and without running or freezing anything.

        `tool`, all `params` with their defaults, `units` and likely wall `seconds` (None where unknown); for a claim also
        what `register` with `dry_run` answers, where its conditions were explored before.
        """
        if name in self.plugins.tools:
            name, args = "explore", calls.as_explore(name, args)
        request = calls.parse(name, args)
        if name == "run_batch":
            spec = self._hypothesis(request.hypothesis).spec
            return {"tool": spec.tool, "units": request.units, **self._seconds(spec.tool, request.units)}
        if name not in ("explore", "register"):
            return {}
        params = self._checked(request.tool, request.params)
        found = {"tool": request.tool, "params": params.model_dump(mode="json")}
        if name == "explore":
            return {**found, "units": request.units, **self._seconds(request.tool, request.units)}
        explored = self._latest_exploration(request.tool, params)
        if explored is not None:
            spec = self._spec(request, params, explored)
            found |= plan_answer(self.campaign.plan(spec, _pilot(explored, spec)), spec)
        units = found.get("expected_units") or request.max_units
        return {**found, "units": units, **self._seconds(request.tool, math.ceil(units))}

    def _seconds(self, tool: str, units: int) -> dict[str, float | None]:
        return {"seconds": self._driver.seconds_for(tool, units) or None}

    def call(self, call_id: str, name: str, args: Mapping[str, Any]) -> Answer:
        """Do one call, or give the recorded answer of the same call.

        Args:
            call_id: equal id and arguments mean the same call, also in another process.
            name: one of `calls.CALLS`, or the name of a perturbation tool (then `args` are its params and `units`).
            args: checked against the call's own model.

        Raises:
            AgentkitError: what was refused and why; nothing is recorded as done.
        """
        if name in self.plugins.tools:
            name, args = "explore", calls.as_explore(name, args)
        request = calls.parse(name, args)
        key = self._record.key(call_id)
        with self._lock:
            if self._stopped:
                raise StoppedError("stopped: nobody waits for the answer; ask again to go on")
            if (known := self._record.answer(key)) is not None:
                self._record.refuse_other(key, name, request)
                if self._fresh and name == "explore":
                    self._measure_again(self.campaign.run(int(known["run"][1:])))
                return known
            self._record.begin(key, name, request)
            before = self.account.by_tool()
            try:
                answer: Answer = getattr(self, f"_{name}")(request, key)
            except BaseException as error:
                self._record.fail(key, error, spent_since(before, self.account.by_tool()))
                raise
            self._record.end(key, name, answer, spent_since(before, self.account.by_tool()))
            return answer

    def answered(self, call_id: str) -> Answer | None:
        """The recorded answer of a call of this session, or None while there is none."""
        with self._lock:
            return self._record.answer(self._record.key(call_id))

    def _carry_spending(self) -> None:
        """Count what calls of this session, and of the whole campaign where it is capped, have spent before."""
        totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for own, tool, amounts in self._record.spendings():
            for currency, amount in amounts.items():
                for scope in (CAMPAIGN, SESSION, tool) if own else (CAMPAIGN,):
                    totals[scope][currency] += amount
        if self.account.caps(CAMPAIGN):
            totals[CAMPAIGN] |= {**spent_on_models(self.campaign), "runs": count_runs(self.campaign)}
        for scope, amounts in totals.items():
            self.account.carry(amounts, scope)

    def _explore(self, request: calls.ExploreCall, key: str) -> Answer:
        run = self._explored(request.tool, request.params, request.units, key)
        table = run.measurements()
        tool = self.plugins.tool(request.tool)
        answer = explore_answer(run, table, tool, family=request.family_p)
        for line in explore_lines(answer):
            self._notify(line)
        return answer

    def _explored(self, tool: str, raw: Mapping[str, Any], units: int, key: str) -> Run:
        params = self._checked(tool, raw)
        targets = self.plugins.fingerprints(self.plugins.target_uris(params.model_dump(mode="json")))
        run = self._record.first_run(key)
        if run is None or (run.phase, run.tool, run.params) != (
            "explore",
            tool,
            params.model_dump(mode="json"),
        ):
            with self._a_run(tool):
                run = self.campaign.start_explore(
                    self.plugins,
                    tool,
                    params,
                    units,
                    targets=targets,
                    environment=self._driver.environment(tool),
                )
        known = set(self.campaign.known(run))
        self._driver.finish(run)
        if self._fresh:
            self._measure_again(run, known)
        self._tell_failures(run)
        return run

    def _measure_again(self, run: Run, units: Collection[int] | None = None) -> None:
        """Compare recorded units with what measuring them now gives.

        Raises:
            NondeterministicError: they differ by more than the tool allows.
        """
        ok = [
            u
            for u in run.units
            if run.outcomes().get(u.index) == "ok" and (units is None or u.index in units)
        ]
        if not ok:
            return
        tool = self.plugins.tool(run.tool)
        recorded = run.measurements().select(units=[u.index for u in ok])
        reservation = self.account.reserve(run.tool, seconds=self._driver.seconds_for(run.tool, len(ok)))
        began = time.monotonic()
        try:
            difference, values = compare(recorded, measure(run, tool, ok, self._driver.executor))
        finally:
            reservation.settle(run.ref, seconds=time.monotonic() - began)
        said = f"{run.ref}: {len(ok)} recorded units measured again, {values} values, largest difference {difference:g}"
        if difference > tool.atol:
            raise NondeterministicError(f"{said}; {run.tool} allows {tool.atol:g}")
        self._notify(f"fresh    {said}")

    def _tell_failures(self, run: Run) -> None:
        failures = run.failures()
        if not failures:
            return
        said = f"{len(failures)} of {len(run.units)} units of {run.ref} failed, the first: {next(iter(failures.values()))}"
        if len(failures) == len(run.units):
            raise ToolError(f"{run.tool}: {said}")
        self._warn(said)

    def _register(self, request: calls.RegisterCall, key: str) -> Answer:
        params = self._checked(request.tool, request.params)
        explored = self._latest_exploration(request.tool, params)
        if explored is None:
            explored = self._explored(request.tool, request.params, PROBE_UNITS, key)
        spec = self._spec(request, params, explored)
        pilot = _pilot(explored, spec)
        if request.dry_run:
            return plan_answer(self.campaign.plan(spec, pilot), spec)
        hypothesis = self.campaign.find(spec)
        if hypothesis is not None and not self._record.was_cut_off(key):
            return self._registered_before(hypothesis, pilot)
        if hypothesis is None:
            hypothesis = self.campaign.register(spec, pilot=pilot, claim_text=request.claim)
        answer = {"hypothesis": hypothesis.ref, **plan_answer(self.campaign.plan(spec, pilot), spec)}
        self._notify(
            f"frozen   {hypothesis.ref}  {formula(spec)}; at most {spec.max_units} units, "
            f"weight {hypothesis.weight:.3g} of alpha {self.campaign.alpha:g}; fresh seeds derived"
        )
        return answer

    def _registered_before(self, hypothesis: Hypothesis, pilot: NDArray[np.float64] | None) -> Answer:
        """A claim is frozen once: the one that is there, and how far it is."""
        spec = hypothesis.spec
        self._notify(
            f"known    this claim is registered already: {hypothesis.described()}; nothing was frozen"
        )
        return {
            **plan_answer(self.campaign.plan(spec, pilot), spec),
            **status_answer(hypothesis, self.campaign.status(hypothesis)),
            "registered_before": True,
        }

    def _spec(self, request: calls.RegisterCall, params: Params, explored: Run) -> Spec:
        return Spec.build(
            self.plugins,
            request.tool,
            params,
            known_conditions=explored.measurements().conditions,
            targets=explored.targets,
            **request.model_dump(exclude={"tool", "params", "claim", "dry_run"}),
        )

    def _run_batch(self, request: calls.RunBatchCall, key: str) -> Answer:
        hypothesis = self._hypothesis(request.hypothesis)
        run = self._record.first_run(key)
        if run is None or run.hypothesis_id != hypothesis.id:
            with self._a_run(hypothesis.spec.tool):
                run = self.campaign.start_confirm(
                    hypothesis, request.units, environment=self._driver.environment(hypothesis.spec.tool)
                )
        self._driver.finish(run)
        if failures := run.failures():
            self._warn(
                f"{len(failures)} of {len(run.units)} units of {run.ref} failed and count as worst case"
            )
        answer = {**status_answer(hypothesis, self.campaign.status(hypothesis)), "run": run.ref}
        self._notify(batch_line(run, answer))
        return answer

    def _stop(self, request: calls.StopCall, key: str) -> Answer:
        hypothesis = self._hypothesis(request.hypothesis)
        if hypothesis.state != "closed" or not self._record.was_cut_off(key):
            self.campaign.close(hypothesis, request.reason)
        hypothesis = self._hypothesis(request.hypothesis)
        return status_answer(hypothesis, self.campaign.status(hypothesis))

    def _status(self, request: calls.StatusCall, key: str) -> Answer:
        match request.what:
            case "hypothesis":
                if request.id is None:
                    raise ParamError("status of a hypothesis needs its id, such as H3")
                hypothesis = self._hypothesis(request.id)
                return status_answer(hypothesis, self.campaign.status(hypothesis))
            case "runs":
                return {
                    "runs": [
                        {"run": r.ref, "phase": r.phase, "tool": r.tool, "units": len(r.units)}
                        for r in self.campaign.runs()
                    ]
                }
            case "budget":
                return {"budget": self.account.line(), "spent": self.account.by_tool()}
            case "tools":
                return tools_answer(self, request.id)
            case _:
                return {
                    "campaign": self.campaign.key,
                    "alpha": self.campaign.alpha,
                    "hypotheses": [
                        {"hypothesis": h.ref, "state": h.state, "claim": formula(h.spec)}
                        for h in self.campaign.hypotheses()
                    ],
                }

    def _query(self, request: calls.QueryCall, key: str) -> Answer:
        found = rows(self.campaign.ledger, request.rows, campaign=self.campaign.key, limit=request.limit)
        return {request.rows: [{k: v for k, v in row.items() if k != "campaign"} for row in found]}

    def _report(self, request: calls.ReportCall, key: str) -> Answer:
        return self._write_report()

    def _checked(self, tool: str, raw: Mapping[str, Any]) -> Params:
        if tool not in self.tool_names:
            raise ParamError(unknown("allowed tool", tool, self.tool_names))
        return self.plugins.tool(tool).parse(raw)

    def _hypothesis(self, ref: str) -> Hypothesis:
        for hypothesis in self.campaign.hypotheses():
            if hypothesis.ref == ref:
                return hypothesis
        if is_run(ref):
            raise SpecError(no_verdict(ref))
        raise SpecError(unknown("hypothesis", ref, [h.ref for h in self.campaign.hypotheses()]))

    def _latest_exploration(self, tool: str, params: Params) -> Run | None:
        wanted = params.model_dump(mode="json")
        runs = [r for r in self.campaign.runs("explore") if r.tool == tool and r.params == wanted]
        whole = [r for r in runs if not r.missing()]
        return whole[-1] if whole else None

    @contextmanager
    def _a_run(self, tool: str) -> Iterator[None]:
        """Set one run aside while it is started; a question that was asked before starts none and costs none."""
        reservation = self.account.reserve(tool, runs=1)
        before = count_runs(self.campaign)
        try:
            yield
        finally:
            reservation.settle(tool, runs=count_runs(self.campaign) - before)


def _pilot(explored: Run, spec: Spec) -> NDArray[np.float64] | None:
    """Explored differences of the contrast, for planning only.

    Raises:
        ParamError: the tool does not measure the metric with these params.
    """
    table = explored.measurements()
    if spec.metric not in table.metrics:
        raise ParamError(
            f"{spec.tool}: {spec.metric} is not measured with these params ({explored.ref} measured "
            f"{', '.join(table.metrics)}); the tool's description says what it needs"
        )
    differences = table.differences(spec.metric, spec.contrast)
    differences = differences[np.isfinite(differences)]
    return differences if len(differences) >= PROBE_UNITS else None
