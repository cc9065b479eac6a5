"""The values that travel: `Metric`, `Resources`, `Unit`. All frozen; none holds a tensor or a closure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agentkit import seeds

if TYPE_CHECKING:
    import numpy as np
    import torch

BASELINE = "baseline"
"""The condition every call must measure: the untouched target."""


class Frozen(BaseModel):
    """A pydantic model that cannot change and refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(Frozen):
    """A number that a tool measures per unit and condition.

    Args:
        name: what it is called in params, SQL and reports.
        low: smallest possible value, or None when there is none.
        high: largest possible value, or None when there is none.
        baseline: the value of the untouched target, where it is known in advance (a cosine to itself is 1).
        higher_is_better: which way is good; None when neither is.

    The tightest true range makes verdicts cheapest: evidence for a bounded mean pays for the range.
    """

    name: str
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    higher_is_better: bool | None = True

    def __init__(  # positional form: Metric("cosine", -1, 1)
        self,
        name: str,
        low: float | None = None,
        high: float | None = None,
        baseline: float | None = None,
        higher_is_better: bool | None = True,
    ) -> None:
        low = None if low is None or math.isinf(low) else low
        high = None if high is None or math.isinf(high) else high
        fields = {"name": name, "low": low, "high": high, "baseline": baseline}
        super().__init__(**fields, higher_is_better=higher_is_better)  # type: ignore[call-arg]  # pydantic's own init

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Metric:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"metric {self.name}: low {self.low} must be below high {self.high}")
        if self.baseline is not None and not self.contains(self.baseline):
            raise ValueError(f"metric {self.name}: baseline {self.baseline} lies outside the range")
        return self

    @property
    def bounded(self) -> bool:
        """Whether both ends of the range are known."""
        return self.low is not None and self.high is not None

    def contains(self, value: float, slack: float = 0.0) -> bool:
        """Whether `value` lies in the declared range; `slack` forgives rounding, in the metric's units."""
        above = self.low is None or value >= self.low - slack
        return above and (self.high is None or value <= self.high + slack)

    def __str__(self) -> str:
        low = "-inf" if self.low is None else f"{self.low:g}"
        high = "inf" if self.high is None else f"{self.high:g}"
        known = "" if self.baseline is None else f", baseline {self.baseline:g}"
        return f"{self.name} [{low}, {high}{known}]"


class Resources(Frozen):
    """What one job of a tool needs: whole or fractional GPUs, CPU threads, host memory in bytes."""

    cpus: Annotated[int, Field(ge=1, le=256)] = 1
    gpus: Annotated[float, Field(ge=0, le=64)] = 0
    memory: Annotated[int, Field(ge=1 << 20)] = 2 << 30

    @model_validator(mode="after")
    def _gpus_are_a_share_or_whole(self) -> Resources:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus {self.gpus:g}: a fraction below 1 or a whole number")
        return self


class Unit(Frozen):
    """One paired replicate. Every condition is measured on it with the same random numbers."""

    index: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=1 << seeds.SEED_BITS)]

    def rng(self, stream: str) -> np.random.Generator:
        """A numpy generator for one named purpose: `unit.rng("noise")`. Equal unit and name, equal draws."""
        return seeds.numpy_rng(self.seed, stream)

    def torch_generator(self, stream: str, device: str = "cpu") -> torch.Generator:
        """A torch generator for one named purpose on the device that draws."""
        return seeds.torch_rng(self.seed, stream, device)
