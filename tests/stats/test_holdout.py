"""Holdout mechanisms: their rules, their promises on a planner that overfits, and their replay."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from agentkit.errors import StatsError
from agentkit.stats.holdout import Ladder, SparseValidate, Thresholdout


def test_a_guess_within_the_threshold_is_confirmed_free_and_another_is_corrected_at_a_cost():
    state = SparseValidate(budget=2)
    answer, state = state.ask(0.62, 0.6)
    assert (answer.value, answer.from_holdout, answer.cost, state.spent) == (0.6, False, 0, 0)
    answer, state = state.ask(0.7234, 0.6)
    assert (answer.value, answer.from_holdout, answer.cost, state.spent) == (pytest.approx(0.72), True, 1, 1)


def test_a_spent_budget_refuses_every_question():
    state = SparseValidate(budget=1)
    _, state = state.ask(0.9, 0.1)
    with pytest.raises(StatsError, match="holdout budget 1 spent"):
        state.ask(0.5, 0.5)


def test_the_number_of_transcripts_is_counted_exactly():
    state = SparseValidate(tick=0.5, budget=2)  # a correction is one of 0, .5, 1
    expected = 1 + 4 * 3 + 6 * 9
    assert math.exp(state.log_transcripts(4)) == pytest.approx(expected)
    assert SparseValidate(tick=0.5, budget=9).log_transcripts(4) == pytest.approx(math.log((1 + 3) ** 4))


def test_the_sample_error_is_the_one_of_the_formula():
    state = SparseValidate()
    t = state.sample_error(10_000, 100)
    assert (math.log(2 * 100 / 0.05) + state.log_transcripts(100)) / (2 * t**2) == pytest.approx(10_000)
    assert (
        state.sample_error(1000, 1)
        < state.sample_error(1000, 100)
        < SparseValidate(budget=20).sample_error(1000, 100)
    )


def overfitting_planner(state, seed, n=1000, features=200):
    """Freedman's trap without any signal: keep features that look good on the data asked, then score their vote.

    Returns the answers' errors against the truth (every accuracy is 1/2) and the error of plain reuse.
    """
    draw = np.random.default_rng([73, seed])
    label, train_label = draw.choice([-1, 1], n), draw.choice([-1, 1], n)
    data, train_data = draw.choice([-1, 1], (n, features)), draw.choice([-1, 1], (n, features))

    def ask(state, prediction, train_prediction):
        mean, train_mean = np.mean(prediction == label), np.mean(train_prediction == train_label)
        guess = 0.5 if isinstance(state, SparseValidate) else train_mean
        return state.ask(float(mean), float(guess))

    errors, vote, train_vote, naive_vote = [], np.zeros(n), np.zeros(n), np.zeros(n)
    for j in range(features):
        answer, state = ask(state, data[:, j], train_data[:, j])
        errors.append(abs(answer.value - 0.5))
        side = np.sign(answer.value - 0.5) or 1.0
        vote, train_vote = vote + side * data[:, j], train_vote + side * train_data[:, j]
        naive_vote += np.sign(np.mean(data[:, j] == label) - 0.5) * data[:, j]
    answer, state = ask(state, np.sign(vote), np.sign(train_vote))
    errors.append(abs(answer.value - 0.5))
    return max(errors), abs(np.mean(np.sign(naive_vote) == label) - 0.5)


def test_no_answer_of_sparse_validate_is_off_by_more_than_promised_while_plain_reuse_is():
    state = SparseValidate(budget=5)
    bound = state.sample_error(1000, 201) + max(state.threshold, state.tick / 2)
    errors, naive = zip(*(overfitting_planner(state, seed) for seed in range(20)), strict=True)
    assert max(errors) <= bound
    assert np.mean(naive) > 0.1  # a vote of features chosen on the set it is scored on


def test_thresholdout_answers_with_training_while_the_two_agree():
    state = Thresholdout(seed=1, noise=1e-6)
    answer, after = state.ask(0.51, 0.5)
    assert (answer.value, answer.cost, after.spent, after.asked) == (0.5, 0, 0, 1)
    answer, after = after.ask(0.8, 0.5)
    assert answer.value == pytest.approx(0.8, abs=1e-4)
    assert (answer.cost, after.spent, after.asked) == (1, 1, 2)


def test_thresholdout_reports_a_score_much_nearer_the_truth_than_plain_reuse():
    """The planner picks on the training half, where its vote overfits; the answer must not follow it."""
    gaps, reported = [], []
    for seed in range(20):
        draw = np.random.default_rng([74, seed])
        n, features = 2000, 200
        label = {part: draw.choice([-1, 1], n) for part in ("train", "holdout")}
        data = {part: draw.choice([-1, 1], (n, features)) for part in ("train", "holdout")}
        side = np.sign(np.mean(data["train"] * label["train"][:, None], axis=0))
        score = {part: float(np.mean(np.sign(data[part] @ side) == label[part])) for part in label}
        answer, _ = Thresholdout(seed=seed).ask(score["holdout"], score["train"])
        gaps.append(score["train"] - 0.5)
        reported.append(abs(answer.value - 0.5))
    assert np.mean(gaps) > 0.07
    assert np.mean(reported) < 0.5 * np.mean(gaps)  # one in seven is still answered with training


def test_the_noise_of_thresholdout_has_the_scales_it_names():
    answers = [
        Thresholdout(seed=s, threshold=1e-9, noise=0.01).ask(0.9, 0.1)[0].value - 0.9 for s in range(4000)
    ]
    assert np.mean(np.abs(answers)) == pytest.approx(0.01, rel=0.1)  # Lap(s): mean size s
    free = np.mean(
        [not Thresholdout(seed=s, threshold=0.05, noise=0.01).ask(0.5, 0.45)[0].cost for s in range(4000)]
    )
    assert free == pytest.approx(0.5, abs=0.03)  # on the threshold the symmetric noise decides


@pytest.mark.parametrize("state", [SparseValidate(), Thresholdout(seed=9), Ladder(step=0.01)])
def test_a_state_stored_as_plain_values_replays_the_same_answers(state):
    draw = np.random.default_rng(75)
    questions = draw.uniform(0.3, 0.7, (12, 2))
    first, second, stored = [], [], state
    for holdout, guess in questions.tolist():
        args = (holdout,) if isinstance(state, Ladder) else (holdout, holdout + (guess - 0.5) / 8)
        answer, state = state.ask(*args)
        first.append(answer)
        again, stored = type(stored)(**asdict(stored)).ask(*args)
        second.append(again)
    assert first == second
    assert state == stored


def test_the_ladder_moves_only_by_a_full_step():
    state = Ladder(step=0.01)
    shown = []
    for score in (0.5012, 0.5049, 0.4, 0.523, 0.5299):
        answer, state = state.ask(score)
        shown.append(answer.value)
    assert shown == pytest.approx([0.50, 0.50, 0.50, 0.52, 0.52])


@pytest.mark.parametrize(
    "make",
    [
        lambda: SparseValidate(threshold=0.0),
        lambda: SparseValidate(tick=-1),
        lambda: SparseValidate(budget=0),
        lambda: Thresholdout(seed=1, noise=0.0),
        lambda: Ladder(step=math.inf),
        lambda: SparseValidate().ask(1.2, 0.5),
        lambda: SparseValidate().ask(0.5, math.nan),
        lambda: Thresholdout(seed=1).ask(0.5, math.nan),
        lambda: Ladder(step=0.1).ask(math.nan),
        lambda: SparseValidate().sample_error(0, 1),
    ],
)
def test_settings_and_questions_that_make_no_sense_are_refused(make):
    with pytest.raises(StatsError, match="allowed is"):
        make()
