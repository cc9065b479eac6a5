"""Campaigns in a real SQLite ledger, filled by toy tools whose effects are known."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentkit import Context, Metric, Params, Unit, target, tool
from agentkit.ledger import Campaign, Hypothesis, Ledger, Run, Spec, UnitOutcome
from agentkit.measurements import Measurements
from agentkit.plugins import Plugin, Plugins

if TYPE_CHECKING:
    from pathlib import Path

RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
STRONG_HEADS = {"L2.H6": -0.05, "L3.H5": -0.12, "L3.H6": -0.07, "L4.H9": 0.06}


class TextParams(Params):
    """Which kinds of noise, how strong."""

    target: str = "toy:model"
    data: str = "toy:addresses"
    kinds: tuple[str, ...] = ("typo",)
    strengths: tuple[float, ...] = RATES


@tool(name="toy.text", version="1", metrics=[Metric("recall_at_1", 0, 1), Metric("margin", -1, 1)])
def text_noise(params: TextParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Recall falls with the strength."""
    b = Measurements.builder(units)
    for unit in units:
        base = float(unit.rng("base").uniform(0.94, 1.0))
        b.add(unit, "baseline", "recall_at_1", base)
        b.add(unit, "baseline", "margin", base - 0.5)
        for i, kind in enumerate(params.kinds):
            for strength in params.strengths:
                condition, own = f"{kind}={strength:g}", float(unit.rng(f"{kind}{strength}").normal(0, 0.02))
                share = strength / max(params.strengths)
                drop = 0.6 * share * (1 + 0.2 * i)
                b.add(unit, condition, "recall_at_1", min(1.0, max(0.0, base - drop + own)))
                b.add(unit, condition, "margin", base - 0.5 - 0.5 * drop + own)
    return b.build()


class HeadParams(Params):
    """How many heads; `scale` multiplies every effect."""

    target: str = "toy:model"
    layers: int = 6
    heads: int = 12
    scale: float = 1.0


@tool(name="toy.heads", version="2", metrics=[Metric("recall_at_1", 0, 1), Metric("match", -0.2, 0.2)])
def heads(params: HeadParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """A few heads matter."""
    b = Measurements.builder(units)
    sites = [f"L{layer}.H{head}" for layer in range(params.layers) for head in range(params.heads)]
    for unit in units:
        base = float(unit.rng("base").normal(0.0, 0.01))
        for site in ["baseline", *sites]:
            own = 0.0 if site == "baseline" else float(unit.rng(site).normal(0, 0.004))
            small = 0.0 if site == "baseline" else (hash_of(site) - 0.5) * 0.01
            value = base + params.scale * (STRONG_HEADS.get(site, small) + own)
            b.add(unit, site, "recall_at_1", min(1.0, max(0.0, 0.5 + value)))
            b.add(unit, site, "match", min(0.2, max(-0.2, value)))
    return b.build()


class NamedParams(Params):
    """Conditions of any name."""

    names: tuple[str, ...] = ("one", "two")
    fail_units: tuple[int, ...] = ()


@tool(name="toy.named", version="1", metrics=[Metric("score", 0, 1), Metric("loss")])
def named(params: NamedParams, units: Sequence[Unit], ctx: Context) -> Measurements:
    """Every further condition lowers the score a little more."""
    b = Measurements.builder(units)
    for unit in units:
        base = float(unit.rng("base").uniform(0.6, 0.8))
        for i, name in enumerate(("baseline", *params.names)):
            own = 0.0 if not i else float(unit.rng(name).normal(0, 0.01))
            value = min(1.0, max(0.0, base - 0.02 * i + own))
            b.add(unit, name, "score", value)
            b.add(unit, name, "loss", 10 * (1 - value))
    return b.build()


@target("toy", fingerprint=lambda rest: f"toy-{rest}-1")
def load_toy(rest: str, device: str) -> object:
    """Load nothing."""
    return object()


def hash_of(name: str) -> float:
    """A number in [0, 1) that only depends on the name."""
    import hashlib

    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def toy_plugins() -> Plugins:
    plugin = Plugin(
        "toy",
        "toy-dist",
        "1.0",
        types.ModuleType("toy"),
        tools=(text_noise, heads, named),
        targets=(load_toy,),
    )
    return Plugins([plugin], [], manager=None)


class World:
    """A campaign with short words for what tests do to it."""

    def __init__(
        self, path: Path, *, name: str = "addresses", max_hypotheses: int = 20, root_seed: int | None = 7
    ):
        self.plugins = toy_plugins()
        self.ledger = Ledger(path)
        self.campaign: Campaign = self.ledger.campaign(
            name, max_hypotheses=max_hypotheses, root_seed=root_seed
        )

    def explore(self, tool: str, units: int = 8, **params: Any) -> Run:
        targets = {"toy:model": "toy-model-1"}
        run = self.campaign.start_explore(self.plugins, tool, params, units, targets=targets)
        self.work(run)
        return run

    def register(self, tool: str, params: dict[str, Any] | None = None, **spec: Any) -> Hypothesis:
        values = {"direction": "less", "sesoi": 0.05, "max_units": 200} | spec
        claim = values.pop("claim_text", "")
        built = Spec.build(self.plugins, tool, params or {}, **values)
        return self.campaign.register(built, allow_underpowered=True, claim_text=claim)

    def confirm(
        self, hypothesis: Hypothesis, units: int, *, close: bool = True, fail: Sequence[int] = ()
    ) -> None:
        for _ in range(0, units, 20):
            self.work(self.campaign.start_confirm(hypothesis, min(units, 20)), fail=fail)
        if close:
            self.campaign.close(hypothesis, "decided")

    def work(self, run: Run, fail: Sequence[int] = ()) -> None:
        tool = self.plugins.tool(run.tool)
        fence = run.begin_attempt("test")
        table = tool(tool.parse(run.params), run.units, None)  # type: ignore[arg-type]  # toys never ask their context
        outcomes = [
            UnitOutcome(u.index, "failed", message="made to fail")
            if u.index in fail
            else UnitOutcome(u.index, "ok", table.select(units=[u.index], conditions=run.conditions))
            for u in run.units
        ]
        run.record(fence, outcomes)
        run.end_attempt(fence, "done")


def address_study(path: Path, **options: Any) -> World:
    """The demo in small: a typo curve, 72 heads, and claims with every kind of verdict."""
    world = World(path, **options)
    world.explore("toy.text", 12)
    world.explore("toy.heads", 8)
    text, head = {"tool": "toy.text", "metric": "recall_at_1"}, {"tool": "toy.heads", "metric": "match"}
    claims = [
        ({**text, "condition": "typo=0.2", "null": -0.05}, 80),  # true
        ({**text, "condition": "typo=0.01", "direction": "equivalent", "sesoi": 0.1}, 140),  # true
        ({**head, "condition": "L3.H5", "sesoi": 0.01}, 80),  # true
        ({**head, "condition": "L4.H9", "sesoi": 0.01}, 120),  # the other way
        ({**head, "condition": "L0.H3", "direction": "equivalent", "sesoi": 0.05}, 120),  # true
        ({**head, "condition": "L2.H6", "sesoi": 0.01, "claim_text": "PLANNER PROSE"}, 20),  # too few units
    ]
    for spec, units in claims:
        hypothesis = world.register(spec.pop("tool"), **spec)
        world.confirm(hypothesis, units, fail=(3,) if units == 20 else ())
    return world
