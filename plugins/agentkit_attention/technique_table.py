"""The techniques by name: their strength, its range, and the strength that leaves the target untouched."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentkit.errors import ParamError, unknown


@dataclass(frozen=True)
class TechniqueInfo:
    """What a user may ask of a technique.

    Attributes:
        name: as written in params.
        symbol: what its strength is called: u, s, tau, sigma.
        low, high: range of the strength.
        default: strength when none is given.
        untouched: the strength at which the target is left alone, which is therefore never computed.
        reads: `out` (head outputs only), `values` (also the values), `map` (also the logits) or `block` (the whole
            block, so all its heads are named together).
    """

    name: str
    symbol: str
    low: float
    high: float
    default: float
    untouched: float
    reads: str

    def check(self, strength: float) -> None:
        """Raise `ParamError` for a strength outside the range."""
        if not self.low <= strength <= self.high:
            raise ParamError(
                f"strength {strength:g} of {self.name}: {self.symbol} must be between {self.low:g} and {self.high:g}"
            )


TECHNIQUES = {
    t.name: t
    for t in (
        TechniqueInfo("ablate", "u", 0, 1, 1, 0, "out"),
        TechniqueInfo("mean_ablate", "u", 0, 1, 1, 0, "out"),
        TechniqueInfo("resample", "u", 0, 1, 1, 0, "out"),
        TechniqueInfo("scale", "s", -2, 3, 0.5, 1, "out"),
        TechniqueInfo("noise", "sigma", 0, 2, 0.5, 0, "out"),
        TechniqueInfo("identity", "u", 0, 1, 0.5, 0, "values"),
        TechniqueInfo("uniform", "u", 0, 1, 0.5, 0, "values"),
        TechniqueInfo("seg_mean", "u", 0, 1, 0.5, 0, "map"),
        TechniqueInfo("temperature", "tau", 0.05, 100, 2, 1, "map"),
        TechniqueInfo("max", "u", 0, 1, 0.5, 0, "map"),
        TechniqueInfo("seg_blur", "sigma", 0.1, math.inf, 1, 0, "map"),
        TechniqueInfo("joint_identity", "u", 0, 1, 0.5, 0, "map"),
        TechniqueInfo("ii_renorm", "u", 0, 1, 0.5, 0, "map"),
        *(
            TechniqueInfo(f"block_zero_{rows}{keys}", "u", 0, 1, 0.5, 0, "map")
            for rows in "it"
            for keys in "it"
        ),
        TechniqueInfo("skip_layer", "u", 0, 1, 1, 0, "block"),
    )
}
"""Every technique; all but `skip_layer` edit single heads."""

JOINT_TECHNIQUES = ("joint_identity", "ii_renorm", *(n for n in TECHNIQUES if n.startswith("block_zero_")))
"""Those that need image rows and text rows in one attention."""

TEXT_TECHNIQUES = tuple(n for n in TECHNIQUES if n not in ("seg_blur", *JOINT_TECHNIQUES))
"""Those that need no image rows."""


def technique_info(name: str) -> TechniqueInfo:
    """The technique of that name; raises `ParamError` with near names."""
    if name not in TECHNIQUES:
        raise ParamError(unknown("technique", name, TECHNIQUES))
    return TECHNIQUES[name]
