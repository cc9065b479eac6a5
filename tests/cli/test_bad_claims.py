"""Claims that cannot be tested, asked through a study file: refused with the reason and the number that decides it."""

from __future__ import annotations

import pytest

HEAD = "store: sqlite:///lab.db\nworkers: inline\ncampaign: {name: c, max_hypotheses: 2}\n"
NOISE = (
    'tool: noise.text, params: {target: "py:pairs_encoder:make", items: 4, candidates: 20, strengths: [0.3]}'
)


def claim(**changes: str) -> str:
    fields = {
        "what": NOISE, "condition": "typos=0.3", "metric": "recall_at_1", "direction": "equivalent", "sesoi": "0.5",
        "max_units": "40", **changes,
    }  # fmt: skip
    rest = ", ".join(f"{key}: {value}" for key, value in fields.items() if key != "what")
    return f"- {{{fields['what']}, {rest}}}\n"


@pytest.fixture
def refused(write_study, agentkit):
    """The one line that a study of these claims ends with."""

    def run(*claims: str, name: str = "study.yaml", flags: tuple[str, ...] = ()) -> str:
        text = HEAD + "hypotheses:\n" + "".join(claims)
        code, out, err = agentkit("run", write_study(name, text=text), *flags)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, out, len(lines)) == (2, "", 1), err
        return lines[0]

    return run


def test_the_same_claim_twice(refused):
    assert "study.yaml:4: hypotheses: entry 2 is entry 1 again" in refused(claim(), claim())


def test_more_claims_than_the_error_budget_has_shares(refused):
    said = refused(*(claim(max_units=str(n)) for n in (40, 41, 42)))
    assert "3 claims do not fit max_hypotheses 2" in said


def test_a_further_claim_of_a_campaign_whose_error_budget_is_spent(refused, write_study, agentkit):
    text = HEAD + "hypotheses:\n" + claim(max_units="20") + claim(max_units="21")
    assert agentkit("run", write_study(text=text))[0] == 0
    said = refused(claim(max_units="22"), name="more.yaml", flags=("--resume",))
    assert "AK004: alpha budget spent (2 of 2); open a new campaign" in said
    assert "2 hypotheses" in agentkit("verify", "lab.db")[1]


def test_a_bounded_test_of_a_metric_without_a_range(refused):
    tool = 'tool: gene.perturb, params: {target: "grn:ffl10", perturb: ["KO:A"], readout: G, cells: 20}'
    said = refused(
        claim(what=tool, condition="KO:A", metric="shift", test="bounded_mean", direction="less", sesoi="0.1")
    )
    assert "test='bounded_mean': metric 'shift' declares no range; use test 'sign' or 'sharp'" in said


def test_an_effect_of_interest_below_what_the_units_can_detect(refused):
    said = refused(claim(sesoi="0.001", direction="less"))
    assert "sesoi=0.001: at 40 units the smallest detectable effect is 0." in said


def test_an_explored_run_has_no_verdict_and_a_missing_hypothesis_is_named(write_study, agentkit):
    text = HEAD + f"explore:\n- {{{NOISE}, units: 2}}\n"
    assert agentkit("run", write_study(text=text))[0] == 0
    code, _, err = agentkit("replay", "lab.db", "--hypothesis", "R1")
    assert (code, "R1 is a run, and no run has a verdict: register a hypothesis" in err) == (2, True), err
    code, _, err = agentkit("replay", "lab.db", "--hypothesis", "H1")
    assert (code, "no hypothesis H1" in err) == (2, True), err
