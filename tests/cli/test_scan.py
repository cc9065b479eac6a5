"""A scan is a family: explored as a whole first, then what looks best is claimed anew on units that nobody has seen."""

from __future__ import annotations

import json

import numpy as np

import agentkit
from agentkit.ledger import Ledger
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
