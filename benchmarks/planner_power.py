"""True effects confirmed at an equal budget of units: the offline planner against searches that anybody would write.

Planted worlds: some of K sites lower a metric in [0, 1] by a known amount, the others do nothing. A unit of budget
is one measurement of one condition, exploring or confirming. Everybody's claims are the same ("lower by more than
0.05"), their evidence and verdicts come from agentkit.stats, and all share one online e-BH at alpha 0.05. The
offline planner talks to the bench as it would in a chat. Peers may explore with 30 % of the budget, 8 units a look.

    python benchmarks/planner_power.py [WORLDS]     # optuna joins when it is importable (tried: 4.6.0)

Where random search already confirms most of what is planted (16 sites), the ratio of confirmed effects cannot be
large; there the column per 1000 units tells more. Bars: at least 1.5 times random search, at least the best other, and false discoveries at most alpha in all.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import Field

import agentkit
from agentkit.agent.offline.model import OfflinePlanner
from agentkit.agent.surface import describe
from agentkit.stats.claims import Claim
from agentkit.stats.planning import first_guess, log_needed, smallest_effect
from agentkit.stats.verdicts import evidence, judge, judge_campaign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

ALPHA, MAX_HYPOTHESES, SESOI, MAX_UNITS, BATCH = 0.05, 100, 0.05, 400, 20
EXPLORE_SHARE, LOOK_UNITS, WINNERS = 0.3, 8, 3
CLAIM = Claim("bounded_mean", "less", -SESOI, SESOI, -1.0, 1.0)
LEVEL = ALPHA / MAX_HYPOTHESES


@dataclass(frozen=True)
class Scenario:
    """A family of worlds."""

    sites: int
    planted: int
    effect: float
    sd: float
    budget: int

    def __str__(self) -> str:
        return (
            f"{self.planted} of {self.sites} sites at {-self.effect:g}, sd {self.sd:g}, {self.budget} units"
        )


SCENARIOS = (
    Scenario(sites=16, planted=2, effect=0.2, sd=0.2, budget=900),
    Scenario(sites=64, planted=3, effect=0.2, sd=0.2, budget=2000),
    Scenario(sites=64, planted=3, effect=0.3, sd=0.3, budget=2000),
)


class Spent(Exception):  # noqa: N818 - a signal, not a fault
    """The budget of units is used up."""


@dataclass
class World:
    """One planted world and its ledger: what was spent, what was frozen, what was drawn."""

    scenario: Scenario
    seed: int
    spent: int = 0
    claims: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, 0x0FF])
        self.names = [f"L{i // 8}.H{i % 8}" for i in range(self.scenario.sites)]
        hit = self.rng.choice(self.scenario.sites, self.scenario.planted, replace=False)
        self.planted = {self.names[i] for i in hit}

    def draw(self, site: str, units: int) -> NDArray[np.float64]:
        """Fresh differences of one site; raises when the budget cannot pay for all of them."""
        if self.spent + units > self.scenario.budget:
            raise Spent
        self.spent += units
        mean = -self.scenario.effect if site in self.planted else 0.0
        return np.clip(self.rng.normal(mean, self.scenario.sd, units), -1, 1)

    def confirm(self, site: str) -> bool:
        """One more batch of fresh units; whether the claim is decided at its own level."""
        drawn = self.claims[site]
        drawn.extend(self.draw(site, min(BATCH, MAX_UNITS - len(drawn))).tolist())
        return evidence(CLAIM, drawn, [False] * len(drawn)).log_e >= -np.log(LEVEL)

    def confirm_all(self, sites: Sequence[str]) -> None:
        """Register and draw round robin until each is decided or at its last unit, or the budget ends."""
        self.claims |= {s: [] for s in sites}
        alive = list(sites)
        while alive:
            for site in list(alive):
                if self.confirm(site) or len(self.claims[site]) >= MAX_UNITS:
                    alive.remove(site)

    def discoveries(self) -> tuple[int, int]:
        """True and false supported claims by the campaign's own rule."""
        rows = {s: d for s, d in self.claims.items() if d}
        if not rows:
            return 0, 0
        verdicts = judge_campaign(
            [CLAIM] * len(rows),
            list(rows.values()),
            [[False] * len(d) for d in rows.values()],
            [1 / MAX_HYPOTHESES] * len(rows),
            [True] * len(rows),
            [None] * len(rows),
            ALPHA,
        )
        found = [s for s, v in zip(rows, verdicts, strict=True) if v.label == "supported"]
        true = sum(s in self.planted for s in found)
        return true, len(found) - true


class Sites(agentkit.Params):
    """What the planner is told of the bench."""

    sites: Annotated[str, Field(description="heads by name or pattern: L*.H*, L3.H2")] = "L*.H*"


@agentkit.tool(name="bench.lesion", metrics=[agentkit.Metric("score", 0, 1)], version="1")
def lesion(params: Sites, units: Any, ctx: Any) -> Any:
    """Lesion heads one by one and measure the score."""
    raise NotImplementedError


class Bench:
    """Answers the planner's calls from a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sites: list[str] = []
        self.pilot_sd = 0.3

    def __call__(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """The content of one tool message."""
        answer: dict[str, Any] = getattr(self, f"_{name}")(args)
        return answer

    def _explore(self, args: dict[str, Any]) -> dict[str, Any]:
        asked, n = args["params"].get("sites", "L*.H*"), args["units"]
        names = self.world.names if "*" in asked else asked.split(", ")
        table = np.array([self.world.draw(s, n) for s in names])
        self.pilot_sd = float(table.std(axis=1, ddof=1).mean())
        row = {
            "baseline": 0.9, "baseline_sd": 0.1, "low": 0, "high": 1, "higher_is_better": True, "conditions": names,
            "mean": table.mean(axis=1).tolist(), "se": (table.std(axis=1, ddof=1) / n**0.5).tolist(), "not_shown": 0,
        }  # fmt: skip
        return {"run": "R1", "units": n, "failed": 0, "metrics": {"score": row}}

    def _register(self, args: dict[str, Any]) -> dict[str, Any]:
        if args["direction"] != "less" or args.get("test"):
            raise ValueError("this bench takes claims of one kind")
        needed = log_needed(CLAIM, ALPHA, 1 / MAX_HYPOTHESES)
        plan = {
            "expected_units": 1.8 * first_guess(CLAIM, -2 * SESOI, self.pilot_sd, needed),
            "smallest_detectable_effect": min(
                smallest_effect(CLAIM, MAX_UNITS, self.pilot_sd, needed), SESOI
            ),
        }
        if args.get("dry_run"):
            return plan
        self.world.claims[args["condition"]] = []
        self.sites.append(args["condition"])
        return {"hypothesis": f"H{len(self.sites)}", **plan}

    def _run_batch(self, args: dict[str, Any]) -> dict[str, Any]:
        site = self.sites[int(args["hypothesis"][1:]) - 1]
        decided = self.world.confirm(site)
        drawn = self.world.claims[site]
        verdict = judge(CLAIM, drawn, [False] * len(drawn), LEVEL)
        return {
            "hypothesis": args["hypothesis"], "state": "decided" if decided else "open", "units": len(drawn),
            "units_left": MAX_UNITS - len(drawn), "log_e": verdict.log_e, "level": LEVEL, "interval": [verdict.lo, verdict.hi],
        }  # fmt: skip

    def _stop(self, args: dict[str, Any]) -> dict[str, Any]:
        drawn = self.world.claims[self.sites[int(args["hypothesis"][1:]) - 1]]
        return {
            "hypothesis": args["hypothesis"],
            "state": "closed",
            "units": len(drawn),
            "units_left": 0,
            "level": LEVEL,
        }

    def _report(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"verdicts": []}


def offline(world: World) -> None:
    """The planner, asked once in English."""
    schema = {**lesion.schema()}
    schema["properties"] = {
        **schema["properties"],
        "units": {"type": "integer", "minimum": 1, "maximum": 256},
    }
    tools = [
        {
            "type": "function",
            "function": {"name": "bench__lesion", "description": describe(lesion), "parameters": schema},
        }
    ]
    tools.append({"type": "function", "function": {"name": "explore", "description": "", "parameters": {}}})
    model, bench = OfflinePlanner().bind(tools=tools), Bench(world)
    messages: list[Any] = [
        HumanMessage("Which heads lower the score most when lesioned? register and confirm them")
    ]
    while True:
        reply = model.invoke(messages)
        assert isinstance(reply, AIMessage)
        if not reply.tool_calls:
            return
        call = reply.tool_calls[0]
        try:
            content, status = json.dumps(bench(call["name"], call["args"])), "success"
        except ValueError as error:
            content, status = str(error), "error"
        messages += [reply, ToolMessage(content, tool_call_id=call["id"], status=status)]


def random_search(world: World) -> None:
    """Look at sites drawn by lot, register the best three."""
    seen: dict[str, float] = {}
    for site in world.rng.choice(world.names, _looks(world)):
        seen[site] = float(world.draw(site, LOOK_UNITS).mean())
    world.confirm_all(sorted(seen, key=lambda s: seen[s])[:WINNERS])


def grid(world: World) -> None:
    """Register every site and draw round robin."""
    world.confirm_all(world.names)


def look_once(world: World) -> None:
    """Look at every site once with what 30 % of the budget pays, register the best three."""
    units = max(2, int(EXPLORE_SHARE * world.scenario.budget) // world.scenario.sites)
    seen = {s: float(world.draw(s, units).mean()) for s in world.names}
    world.confirm_all(sorted(seen, key=lambda s: seen[s])[:WINNERS])


def tpe(world: World) -> None:
    """Optuna's TPE over the sites, register the best three."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=world.seed))
    seen: dict[str, list[float]] = {}

    def objective(trial: Any) -> float:
        site = trial.suggest_categorical("site", world.names)
        seen.setdefault(site, []).append(float(world.draw(site, LOOK_UNITS).mean()))
        return seen[site][-1]

    study.optimize(objective, n_trials=_looks(world))
    world.confirm_all(sorted(seen, key=lambda s: float(np.mean(seen[s])))[:WINNERS])


def _looks(world: World) -> int:
    return int(EXPLORE_SHARE * world.scenario.budget) // LOOK_UNITS


def play(planner: Callable[[World], None], scenario: Scenario, worlds: int) -> dict[str, float]:
    """Mean true and false discoveries, false discovery rate and units spent."""
    rows = []
    began = time.process_time()
    for seed in range(worlds):
        world = World(scenario, seed)
        with suppress(Spent):
            planner(world)
        true, false = world.discoveries()
        rows.append((true, false / max(true + false, 1), world.spent))
    true_mean, fdr, units = np.mean(rows, axis=0)
    return {"true": true_mean, "fdr": fdr, "units": units, "seconds": (time.process_time() - began) / worlds}


def main() -> None:
    """Print one table a scenario."""
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    planners = {"offline": offline, "random": random_search, "grid": grid, "look once": look_once}
    if importlib.util.find_spec("optuna"):
        planners["TPE"] = tpe
    else:
        print("optuna is not importable and left out (pip install optuna==4.6.0)")
    for scenario in SCENARIOS:
        print(f"\n{scenario}; {worlds} worlds")
        print("planner     true effects confirmed   of planted   FDR    units  per 1000 units  CPU s/world")
        for name, planner in planners.items():
            r = play(planner, scenario, worlds)
            share = r["true"] / scenario.planted
            print(
                f"{name:<11}{r['true']:>23.2f}{share:>13.2f}{r['fdr']:>6.3f}{r['units']:>9.0f}"
                f"{1000 * r['true'] / r['units']:>16.2f}{r['seconds']:>13.2f}"
            )


if __name__ == "__main__":
    main()
