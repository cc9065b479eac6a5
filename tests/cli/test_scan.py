"""A scan is a family: explored as a whole first, then what looks best is claimed anew on units that nobody has seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import agentkit
from agentkit.ledger import Ledger
from agentkit.ledger.family import family_p
from agentkit.stats.fixed import max_t
from tests.cli.conftest import STUDY

SWEEP = {"target": "py:pairs_encoder:make", "strengths": [0.02, 0.3, 0.6, 0.9], "items": 8, "candidates": 40}


def seeds(ledger: Ledger, phase: str) -> set[int]:
    rows = ledger.query("SELECT seed FROM run_unit WHERE phase = ?", (phase,))
    return {row["seed"] for row in rows}


def test_a_study_claims_sites_of_its_sweep_anew_on_fresh_units(write_study, agentkit):
    code, _, err = agentkit("run", write_study(text=STUDY))
    assert code == 0, err
    with Ledger("lab.db", readonly=True) as ledger:
        [sweep] = [r for r in ledger.reopen("pairs").runs("explore") if len(r.units) == 12]
        claims = ledger.reopen("pairs").hypotheses()
        assert claims
        for claim in claims:
            assert set(claim.spec.contrast) <= {*sweep.measurements().conditions}
            assert claim.spec.params == sweep.params
        explored, confirmed = seeds(ledger, "explore"), seeds(ledger, "confirm")
        assert len(explored) >= 12 and confirmed and not explored & confirmed
        ledger.verify()


def test_a_script_picks_sites_by_max_t_over_the_whole_sweep_and_confirms_them_on_fresh_units(folder):
    with agentkit.lab("sqlite:///lab.db", workers="inline") as lab:
        campaign = lab.campaign("scan", max_hypotheses=4, seed=5)
        table = lab.explore("noise.text", campaign=campaign, units=12, **SWEEP)
        sites = [f"typos={s:g}" for s in SWEEP["strengths"]]
        found = np.column_stack([table.differences("margin", {s: 1, "baseline": -1}) for s in sites])
        scan = max_t(found, np.random.default_rng(1), resamples=499)
        chosen = [site for site, p in zip(sites, scan.p_values, strict=True) if p <= 0.05]
        assert "typos=0.9" in chosen, scan.p_values
        for site in chosen:
            lab.register(
                campaign, tool="noise.text", params=SWEEP, condition=site, metric="margin", direction="less",
                sesoi=0.0, test="sign", max_units=60,
            )  # fmt: skip
        labels = {row["verdict"]: row["label"] for row in lab.confirm(campaign)}
        assert len(labels) == len(chosen) and set(labels.values()) <= {"supported", "inconclusive"}
        assert "supported" in labels.values(), json.dumps(labels)
        assert not seeds(lab.ledger, "explore") & seeds(lab.ledger, "confirm")


FAMILY = {"units: 12\n": "units: 12\n    family_p: true\n"}


def test_a_study_prints_the_p_values_of_its_sweep_as_one_family_and_no_verdict_reads_them(
    write_study, agentkit
):
    [(plain, family)] = FAMILY.items()
    code, _, err = agentkit(
        "run", write_study(text=STUDY.replace(plain, family), report="family", store="family.db")
    )
    assert code == 0, err
    assert "family p 0.0" in err and "exploratory)" in err
    code, _, err = agentkit("run", write_study(report="plain", store="plain.db"))
    assert code == 0 and "family p" not in err
    with Ledger("family.db", readonly=True) as one, Ledger("plain.db", readonly=True) as other:
        campaign = one.reopen("pairs")
        [sweep] = [r for r in campaign.runs("explore") if len(r.units) == 12]
        adjusted = family_p(sweep, "margin")
        assert list(adjusted) == list(sweep.measurements().conditions[1:])
        assert all(0 < p <= 1 for p in adjusted.values())
        assert (
            adjusted["chance"] <= 0.01 and adjusted["typos=0.3"] <= 0.01
        )  # 12 units, clear whatever is drawn
        [answer] = [
            c["answer"] for c in campaign.decisions("call_answered") if c["answer"].get("run") == "R1"
        ]
        told = answer["metrics"]["margin"]
        assert told["family_p"] == pytest.approx([adjusted[c] for c in told["conditions"]], rel=1e-5)
        fields = ("hypothesis", "label", "units", "estimate", "lo", "hi", "log_e")
        verdicts = [
            [tuple(getattr(v, f) for f in fields) for v in ledger.reopen("pairs").verdicts()]
            for ledger in (one, other)
        ]
        assert verdicts[0] == verdicts[1] != []
        one.verify()
    report = Path("family/report.md").read_text()
    assert "| Family p |" in report and "it chose claims and is no verdict" in report
    assert "Family p" not in Path("plain/report.md").read_text()


def test_a_family_of_too_few_units_is_refused_with_its_line(write_study, agentkit):
    path = write_study(text=STUDY.replace("units: 12\n", "units: 5\n    family_p: true\n"))
    code, _, err = agentkit("run", path)
    assert code == 2 and "family_p over 5 units cannot fall below 0.0625; explore at least 6 units" in err
    assert not Path("lab.db").exists()
