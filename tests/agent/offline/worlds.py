"""Fake outcomes with planted effects: what the toolbox would have answered, without running anything."""

from __future__ import annotations

import math
import random
from typing import Any


class World:
    """Answers calls for one tool whose conditions have true mean differences; counts what was drawn.

    Args:
        effects: given the params of a call, the true mean difference of each condition.
        sd: spread of a unit's difference.
        seed: of the world's own noise.
        metric: the only metric.
        low, high: its range.
    """

    def __init__(
        self,
        effects: Any,
        *,
        sd: float,
        seed: int = 0,
        metric: str = "focus_score",
        low: Any = 0,
        high: Any = 1,
    ) -> None:
        self.effects, self.sd, self.metric, self.low, self.high = effects, sd, metric, low, high
        self.rng = random.Random(seed)
        self.frozen: list[dict[str, Any]] = []
        self.drawn: dict[str, list[float]] = {}
        self.explored_units = 0
        self.log: list[str] = []

    def __call__(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        self.log.append(name if not args.get("dry_run") else "dry_run")
        answer: dict[str, Any] = getattr(self, f"_{name}")(args)
        return answer

    def _explore(self, args: dict[str, Any]) -> dict[str, Any]:
        truth, n = self.effects(args["params"]), args["units"]
        self.explored_units += n * max(len(truth), 1)
        means = {c: self.rng.gauss(m, self.sd / math.sqrt(n)) for c, m in truth.items()}
        table = {
            "baseline": 0.9, "baseline_sd": self.sd, "low": self.low, "high": self.high, "higher_is_better": True,
            "conditions": list(means), "mean": list(means.values()), "se": [self.sd / math.sqrt(n)] * len(means), "not_shown": 0,
            "controls": [name for name in means if name == "chance"],
        }  # fmt: skip
        return {"run": f"R{len(self.log)}", "units": n, "failed": 0, "metrics": {self.metric: table}}

    def _register(self, args: dict[str, Any]) -> dict[str, Any]:
        condition = args.get("condition") or next(iter(args["contrast"]))
        if condition not in self.effects(args["params"]):
            raise ValueError(f"unknown condition {condition}")
        plan = {"expected_units": 60, "smallest_detectable_effect": 0.0, "share_decided": 0.9}
        if args.get("dry_run"):
            return plan
        self.frozen.append({**args, "condition": condition})
        return {"hypothesis": f"H{len(self.frozen)}", **plan}

    def _run_batch(self, args: dict[str, Any]) -> dict[str, Any]:
        ref = args["hypothesis"]
        spec = self.frozen[int(ref[1:]) - 1]
        true = self.effects(spec["params"])[spec["condition"]]
        drawn = self.drawn.setdefault(ref, [])
        drawn += [
            self.rng.gauss(true, self.sd) for _ in range(min(args["units"], spec["max_units"] - len(drawn)))
        ]
        return self._status({"id": ref})

    def _status(self, args: dict[str, Any]) -> dict[str, Any]:
        if not args.get("id"):
            claims = [
                {"hypothesis": f"H{i + 1}", "state": "open", "claim": s["condition"]}
                for i, s in enumerate(self.frozen)
            ]
            return {"campaign": "test", "alpha": 0.05, "hypotheses": claims}
        ref = args["id"]
        if not ref[1:].isdigit() or int(ref[1:]) > len(self.frozen):
            raise ValueError(f"no hypothesis {ref}")
        spec, drawn = self.frozen[int(ref[1:]) - 1], self.drawn.get(ref, [])
        n = max(len(drawn), 1)
        mean, half = sum(drawn) / n, 4 * self.sd / math.sqrt(n)
        beyond = {
            "less": mean + half < spec["null"],
            "greater": mean - half > spec["null"],
            "two_sided": abs(mean) > half,
            "equivalent": abs(mean) + half < spec["sesoi"],
        }[spec["direction"]]
        label = "supported" if beyond and drawn else "inconclusive"
        return {
            "hypothesis": ref, "state": "decided" if label == "supported" else "open", "units": len(drawn), "failed": 0,
            "units_left": spec["max_units"] - len(drawn), "estimate": mean, "interval": [mean - half, mean + half],
            "log_e": 9.0 if beyond else 0.1, "level": 0.0005, "label_if_stopped": label,
        }  # fmt: skip

    def _stop(self, args: dict[str, Any]) -> dict[str, Any]:
        row = self._status({"id": args["hypothesis"]})
        self.frozen[int(args["hypothesis"][1:]) - 1]["label"] = row["label_if_stopped"]
        return {**row, "state": "closed"}

    def _report(self, args: dict[str, Any]) -> dict[str, Any]:
        rows = [
            {"verdict": f"H{i + 1}", "label": s["label"], "sentence": f"{s['label']}: {s['condition']}"}
            for i, s in enumerate(self.frozen)
            if "label" in s
        ]
        return {"verdicts": rows, "report": "", "head": ""}

    @property
    def supported(self) -> list[str]:
        """Conditions of the claims that were closed as supported."""
        return [s["condition"] for s in self.frozen if s.get("label") == "supported"]
