"""Pictures of an exploration: images before and after, ROC curves, bands of controls."""

import numpy as np
import pytest
import torch

from agentkit_input_noise import picture_files
from agentkit_input_noise.attack_tool import noise_attack
from agentkit_input_noise.image_tool import noise_image
from agentkit_input_noise.roc import RATES, auroc, roc


@pytest.fixture
def context(make_context, digits, digits_net):
    return make_context({"digits:": digits, "digits:cnn": digits_net})


def test_examples_show_each_condition_with_what_was_predicted_before_and_after(context, units):
    noise_image(
        noise_image.parse({"kinds": ["impulse"], "strengths": [0.1, 0.9], "items": 20}), units[:2], context
    )
    shown = context.artifacts["examples.json"]
    assert list(shown) == ["baseline", "impulse=0.1", "impulse=0.9"]
    assert all(len(rows) == 5 for rows in shown.values())
    assert all(row["before"] == row["after"] for row in shown["baseline"])
    assert any(row["before"] != row["after"] for row in shown["impulse=0.9"])
    assert "impulse=0.9" in context.artifacts["examples.svg"]


def test_an_attack_shows_its_controls_beside_it(context, units):
    noise_attack(noise_attack.parse({"eps": [0.2], "steps": 5, "items": 20}), units[:2], context)
    assert set(context.artifacts["examples.json"]) == {
        "baseline",
        "pgd=0.2",
        "random_sign=0.2",
        "random_sphere=0.2",
    }


def test_measured_strength_stands_beside_the_requested_one(context, units):
    noise_attack(noise_attack.parse({"eps": [0.1, 0.2], "steps": 5, "items": 20}), units[:2], context)
    rows = {row["condition"]: row for row in context.artifacts["strength.json"]}
    assert len(rows) == 6
    for eps in (0.1, 0.2):
        assert rows[f"pgd={eps}"]["linf"] == pytest.approx(rows[f"pgd={eps}"]["requested"], abs=1e-6)
        assert rows[f"random_sphere={eps}"]["l2"] == pytest.approx(rows[f"pgd={eps}"]["l2"], rel=0.02)


def test_a_confirmation_leaves_no_picture(make_context, digits, digits_net, units):
    context = make_context({"digits:": digits, "digits:cnn": digits_net}, {"gaussian=0.2"})
    noise_image(
        noise_image.parse({"kinds": ["gaussian"], "strengths": [0.2], "items": 10}), units[:2], context
    )
    assert not context.artifacts


def test_without_labels_a_frame_marks_what_flipped():
    images = torch.zeros(2, 1, 4, 4)
    shown = {"baseline": picture_files.Shown(images, [3, 7]), "noise=1": picture_files.Shown(images, [3, 1])}
    assert picture_files.draw_images(shown, None) == picture_files.draw_images(shown, [3, 7])
    assert picture_files.draw_images(shown, None) != picture_files.draw_images(shown, [3, 1])


def test_a_page_of_examples_reaches_from_the_baseline_to_the_last_of_many_conditions():
    images = torch.zeros(1, 1, 4, 4)
    names = ["baseline", *(f"{kind}={s}" for kind in "abcde" for s in range(1, 9))]
    page = picture_files.draw_images({name: picture_files.Shown(images, [0]) for name in names}, [0])
    drawn = [name for name in names if f">{name}<" in page]
    assert len(drawn) == picture_files.MOST_ROWS
    assert (drawn[0], drawn[-1]) == ("baseline", "e=8")
    assert {name[0] for name in drawn[1:]} == set("abcde")


def test_the_area_under_a_roc_curve_is_the_auroc():
    rng = np.random.default_rng(3)
    clean, perturbed = rng.standard_normal(400), rng.standard_normal(300) + 1
    area = np.trapezoid(roc(clean, perturbed), RATES)
    assert area == pytest.approx(auroc(clean, perturbed), abs=0.01)


def test_roc_curves_of_equal_and_of_separate_scores_are_the_diagonal_and_the_corner():
    scores = np.arange(200.0)
    assert np.abs(roc(scores, scores) - RATES).max() < 0.02
    assert (roc(scores, scores + 1_000)[1:] == 1).all()
    assert roc(scores + 1_000, scores)[-2] < 1e-9
