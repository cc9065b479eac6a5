"""The files of a whole run, made from its recorded measurements.

Workers measure a run a few units at a time, so the files that a tool leaves beside one job describe these units
only. Here they are made again from everything that the ledger holds.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentkit.errors import ParamError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agentkit import Measurements, Tool, Unit

KERNELS = {
    "noise.text": "linkage", "noise.slots": "slots", "noise.image": "images", "noise.attack": "attacked",
    "noise.rl": "rollouts", "noise.asr": "asr", "noise.graph": "links", "noise.certify": "certify",
    "noise.detect": "detect", "noise.pii": "anonymised", "noise.purify": "purified",
    "noise.bounds": "bounded",
}  # fmt: skip
"""Module that draws each tool's files."""

WITHOUT_FITS = ("noise.certify", "noise.detect", "noise.bounds")
"""Tools whose curves are not fitted, so that no bootstrap is drawn from the units."""


class Folder:
    """Takes what a tool would store as artifacts, as files.

    Args:
        path: made when it is not there.
    """

    conditions = None

    def __init__(self, path: Path) -> None:
        self._path, self.names = path, list[str]()
        path.mkdir(parents=True, exist_ok=True)

    def artifact(self, name: str, value: Any) -> str:
        """Write one file and return its path."""
        text = value if isinstance(value, str) else json.dumps(value, indent=1, sort_keys=True)
        (self._path / name).write_text(text, encoding="utf-8")
        self.names.append(name)
        return str(self._path / name)


def write_figures(
    tool: Tool, params: dict[str, Any], table: Measurements, units: Sequence[Unit], folder: Folder
) -> list[str]:
    """Draw a run's curves, maps and claims; returns the names of the files.

    Raises:
        ParamError: a tool of which nothing is drawn, or a run of too few units.
    """
    if tool.name not in KERNELS:
        raise ParamError(f"{tool.name} has no curves; those that have: {', '.join(KERNELS)}")
    kernel = import_module(f"agentkit_input_noise.{KERNELS[tool.name]}")
    parsed = tool.parse(params)
    if tool.name in WITHOUT_FITS:
        kernel.draw(folder, parsed, table, tool.metrics)
    else:
        kernel.draw(folder, parsed, table, tool.metrics, units)
    if not folder.names:
        raise ParamError(
            f"nothing to draw from {len(table.units)} units: an interval needs two, a curve a kind with strengths"
        )
    return folder.names
