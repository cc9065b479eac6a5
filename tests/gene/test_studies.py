"""The studies of examples/ and a question in plain English, to their verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest

import agentkit
from agentkit.study import load_study

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow  # a minute of simulation each
@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("toggle_switch", ["supported", "contradicted"]),  # even a tenth less of A flips more than a tenth
        ("epistasis_screen", ["supported", "supported"]),
        ("predictor_or_mean", ["supported", "supported", "supported"]),
    ],
)
def test_a_gene_study_of_the_examples_ends_in_its_verdicts(
    tmp_path: Path, name: str, labels: list[str]
) -> None:
    file = load_study(EXAMPLES / f"{name}.yaml")
    study = file.study.model_copy(update={"report": str(tmp_path / "report")})
    with agentkit.lab(tmp_path / "lab.db", workers="local:2") as lab:
        result = lab.run(file.with_study(study))
        lab.ledger.verify()
    assert [v["label"] for v in result.verdicts] == labels
    assert result.report is not None and result.report.exists()


@pytest.mark.slow  # half a minute of simulation
def test_which_pairs_are_epistatic_is_answered_in_plain_english_with_verdicts(tmp_path: Path) -> None:
    with agentkit.lab(tmp_path / "lab.db", workers="local:2") as lab:
        campaign = lab.campaign("asked", seed=11)
        said = lab.ask("which double knock-outs in grn:ffl10 are epistatic on gene G?", campaign=campaign)
        claims = [h.spec for h in campaign.hypotheses()]
        rows = lab.result(campaign).verdicts
    assert (
        claims and {c.tool for c in claims} == {"gene.screen"} and {c.metric for c in claims} == {"epistasis"}
    )
    assert all("+KO:" in condition for c in claims for condition in c.contrast if condition != "baseline")
    assert "supported" in {r["label"] for r in rows} and "supported" in said
