from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from agentkit.report.claims import claim_line, compared, sentence, short_contrast
from agentkit.report.document import plain
from agentkit.report.facts import Finding

CLAIM = Finding(
    ref="H3", state="closed", close_reason="decided", as_of_seq=40, tool="toy.heads", params={}, targets=("toy:model",),
    contrast={"L3.H2": 1.0, "baseline": -1.0}, metric="margin", metric_range=(-1, 1), direction="less", null=0.0,
    sesoi=0.02, test="bounded_mean", interval="two_sided", max_units=200, weight=0.01, label="supported",
    reason="decided", estimate=-0.056, lo=-0.0613, hi=-0.0502, log_e=9.0, level=0.01, k_star=3, units=40, failed=0,
    path=((40,), (9.0,)), unadjusted=(-0.06, -0.05),
)  # fmt: skip


def _claim(**changes) -> str:
    return plain(claim_line(replace(CLAIM, **changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "mean margin under L3.H2 is lower than at baseline"),
        ({"direction": "greater", "null": 0.1}, "mean margin under L3.H2 is higher than at baseline by more than 0.1"),
        ({"null": -0.05}, "mean margin under L3.H2 is lower than at baseline by more than 0.05"),
        ({"null": 0.05}, "mean margin under L3.H2 is lower than at baseline, or less than 0.05 the other way"),
        ({"direction": "two_sided"}, "mean margin under L3.H2 differs from baseline"),
        ({"direction": "equivalent"}, "mean margin under L3.H2 is within ±0.02 of baseline"),
        ({"test": "sign"}, "margin under L3.H2 is lower than at baseline more often than higher"),
        (
            {"test": "sign", "direction": "equivalent", "sesoi": 0.3},
            "sign balance of margin, L3.H2 − baseline, is within ±0.3 of 0",
        ),
        (
            {"test": "sharp"},
            "L3.H2 changes margin against baseline, downwards (test of no change at all, not of a mean)",
        ),
        (
            {"contrast": {"a": 0.5, "b": 0.5, "baseline": -1.0}, "null": 0.25, "direction": "greater"},
            "mean margin, 0.5·a + 0.5·b − 1·baseline, is above 0.25",
        ),
    ],
)  # fmt: skip
def test_a_claim_is_said_in_words_made_from_its_spec(changes, words):
    assert _claim(**changes) == words


def test_a_supported_verdict_repeats_the_claim_with_its_numbers():
    assert plain(sentence(CLAIM)) == (
        "supported: mean margin under L3.H2 is lower than at baseline "
        "(estimate −0.0560, interval [−0.0613, −0.0502], n = 40)."
    )


def test_a_contradicted_verdict_says_what_holds_instead():
    text = plain(sentence(replace(CLAIM, label="contradicted", direction="greater")))
    assert text.startswith(
        "contradicted: mean margin under L3.H2 is lower than at baseline; the claim was that mean margin under L3.H2 "
        "is higher than at baseline"
    )
    beyond = plain(sentence(replace(CLAIM, label="contradicted", direction="equivalent")))
    assert "lies outside ±0.02" in beyond


def test_an_undecided_verdict_says_only_that_the_units_do_not_decide():
    closed = plain(sentence(replace(CLAIM, label="inconclusive", reason="undecided")))
    assert closed.startswith("inconclusive: the units do not decide whether mean margin")
    still_open = plain(
        sentence(replace(CLAIM, label="inconclusive", reason="open", state="frozen", failed=2))
    )
    assert "the units so far do not decide" in still_open and "n = 40, 2 failed" in still_open


def test_an_invalid_verdict_prints_no_estimate():
    text = plain(sentence(replace(CLAIM, label="invalid", reason="range")))
    assert "reason range" in text and "0.056" not in text and "nothing may be concluded" in text


def test_smallness_is_claimed_only_by_an_equivalent_verdict():
    labels = ("supported", "contradicted", "inconclusive", "invalid", "equivalent")
    for label, direction, test in product(labels, ("less", "greater", "two_sided"), ("bounded_mean", "sign")):
        text = plain(sentence(replace(CLAIM, label=label, direction=direction, test=test)))
        assert ("is within ±" in text) == (label == "equivalent")
        assert "no effect" not in text.lower()


def test_a_long_condition_loses_its_middle_and_keeps_what_it_is_compared_with():
    long = replace(CLAIM, contrast={"KO:" + "G" * 80: 1.0, "baseline": -1.0})
    short = short_contrast(long, 30)
    assert len(short) <= 30 and short.startswith("KO:") and short.endswith(" − baseline") and "…" in short
    assert plain(compared(long)).count("G") == 80


def test_claims_of_the_same_words_are_told_apart_by_the_params_that_differ():
    from agentkit.report.facts import told_apart

    epochs = replace(CLAIM, params={"budget": "epochs", "r": 8})
    passes = replace(CLAIM, params={"budget": "passes", "r": 8})
    other = replace(CLAIM, params={"budget": "passes", "r": 4}, metric="another")
    found = told_apart([epochs, passes, other])
    assert [f.setting for f in found] == ['budget "epochs"', 'budget "passes"', ""]
    assert plain(claim_line(found[1])) == f'{plain(claim_line(passes))} (budget "passes")'
