"""Text that a tool left with its run stands in the report, and cannot break it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agentkit.ledger.places import artifacts_folder
from agentkit.ledger.values import Artifact, UnitOutcome
from agentkit.report import write_report
from tests.report.worlds import World

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "Round 1: 2 genes\n\n   1  IL2RA  <b>hit</b>\n      sets: T cells | `x`\n"


def explored(store: Path, texts: dict[str, str], *, kept: bool = True) -> World:
    """A run whose units each left a page of their own under one name."""
    world = World(store)
    folder = artifacts_folder(store)
    folder.mkdir()
    run = world.campaign.start_explore(
        world.plugins, "toy.text", {}, len(texts), targets={"toy:model": "toy-model-1"}
    )
    fence = run.begin_attempt("test")
    tool = world.plugins.tool("toy.text")
    table = tool(tool.parse({}), run.units, None)  # type: ignore[arg-type]  # the toy never asks its context
    outcomes = []
    for unit, words in zip(run.units, texts.values(), strict=True):
        content = words.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        if kept:
            (folder / f"{sha256}.txt").write_bytes(content)
        file = Artifact(sha256, len(content), "text/plain", "round01.txt")
        outcomes.append(UnitOutcome(unit.index, "ok", table.select(units=[unit.index]), artifacts=(file,)))
    run.record(fence, outcomes)
    run.end_attempt(fence, "done")
    return world


def test_the_first_units_page_is_shown_line_by_line_and_escaped(store, tmp_path) -> None:
    world = explored(store, {"first": PAGE, "second": "Round 1: another unit"})
    paths = write_report(world.campaign, tmp_path / "report", planner="")
    html, markdown = paths.html.read_text(), paths.markdown.read_text()
    assert html.count("<details>") == 1
    assert "<summary>round01</summary>" in html
    assert "   1  IL2RA  &lt;b&gt;hit&lt;/b&gt;\n      sets: T cells | `x`</pre>" in html
    assert "\n\n    Round 1: 2 genes\n    \n       1  IL2RA  <b>hit</b>\n" in markdown
    assert "another unit" not in html


def test_a_page_that_is_gone_or_altered_says_so(store, tmp_path) -> None:
    world = explored(store, {"first": PAGE}, kept=False)
    sha256 = hashlib.sha256(PAGE.encode()).hexdigest()
    said = write_report(world.campaign, tmp_path / "a", planner="").html.read_text()
    assert f"not here: {sha256}.txt" in said
    (artifacts_folder(store) / f"{sha256}.txt").write_text("Round 1: better numbers")
    said = write_report(world.campaign, tmp_path / "b", planner="").html.read_text()
    assert f"altered: {sha256}.txt" in said
    assert "better numbers" not in said
