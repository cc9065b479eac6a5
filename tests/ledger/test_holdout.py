"""A finite evaluation set answers a limited number of paid questions, and remembers what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentkit.errors import LedgerError, RuleViolation
from agentkit.ledger import Ledger

if TYPE_CHECKING:
    from agentkit.ledger import Campaign


def test_a_good_guess_is_confirmed_for_free(campaign: Campaign) -> None:
    answer = campaign.holdout("aa").ask("q1", mean=0.52, guess=0.5)
    assert (answer.value, answer.from_holdout, answer.cost) == (0.5, False, 0)


def test_a_bad_guess_is_corrected_and_paid_for(campaign: Campaign) -> None:
    answer = campaign.holdout("aa").ask("q1", mean=0.623, guess=0.5)
    assert (answer.value, answer.cost) == (pytest.approx(0.62), 1)


def test_a_spent_budget_answers_no_more_but_remembers(campaign: Campaign) -> None:
    holdout = campaign.holdout("aa", budget=2)
    first = holdout.ask("q1", mean=0.9, guess=0.1)
    holdout.ask("q2", mean=0.8, guess=0.1)
    with pytest.raises(RuleViolation, match="AK004: holdout budget 2 spent"):
        holdout.ask("q3", mean=0.7, guess=0.7)
    again = holdout.ask("q1", mean=0.9, guess=0.1)
    assert (again.value, again.cost) == (first.value, 0)


def test_a_holdout_keeps_its_values_and_its_budget_over_a_restart(url: str) -> None:
    with Ledger(url) as ledger:
        ledger.campaign("a").holdout("aa", budget=1).ask("q1", mean=0.9, guess=0.1)
    with Ledger(url) as ledger:
        campaign = ledger.campaign("a")
        with pytest.raises(LedgerError, match="budget=5: this holdout was opened with 1"):
            campaign.holdout("aa", budget=5)
        with pytest.raises(RuleViolation, match="AK004"):
            campaign.holdout("aa", budget=1).ask("q2", mean=0.9, guess=0.1)
        ledger.verify()


def test_thresholdout_draws_its_noise_from_the_root(tmp_path) -> None:
    answers = []
    for name, root in (("a", 1), ("b", 1), ("c", 2)):
        with Ledger(tmp_path / f"{name}.db") as ledger:
            holdout = ledger.campaign("t", root_seed=root).holdout(
                "aa", method="thresholdout", threshold=0.04
            )
            answers.append([holdout.ask(f"q{i}", mean=0.9, guess=0.1).value for i in range(5)])
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize("mean", [-0.1, 1.1, float("nan")])
def test_a_mean_that_no_query_has_is_refused(campaign: Campaign, mean: float) -> None:
    with pytest.raises(LedgerError, match="holdout_mean"):
        campaign.holdout("aa").ask("q", mean=mean, guess=0.5)


def test_unknown_methods_and_empty_budgets_are_refused(campaign: Campaign) -> None:
    with pytest.raises(LedgerError, match="method='ladder'"):
        campaign.holdout("aa", method="ladder")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(LedgerError, match="positive"):
        campaign.holdout("aa", budget=0)
