import numpy as np
import pytest
import torch

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import noise_predictor
from agentkit_input_noise.detect import Reference, detector_of
from agentkit_input_noise.detect_tool import noise_detect
from agentkit_input_noise.roc import auroc

PARAMS = {"eps": [0.2], "items": 30, "draws": 2, "times": 5}


@pytest.fixture(scope="module")
def score_net(digits):
    """A predictor of the right shape: detection of the size is all that these tests need."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = noise_predictor.predictor(64)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    flat = 2 * digits.images[list(digits.train)].flatten(1) - 1
    with torch.enable_grad():
        for _ in range(200):
            x = flat[torch.randint(len(flat), (128,), generator=generator)]
            t = 0.001 + 0.3 * torch.rand((128, 1), generator=generator)
            z = torch.randn(x.shape, generator=generator)
            kept, spread = noise_predictor.kept_and_noise(t)
            loss = ((noise_predictor.predict(net, kept * x + spread * z, t) - z) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def run(make_context, digits, digits_net, score_net, units):
    def run(params=PARAMS, on=units[:2], conditions=None):
        targets = {"digits:cnn": digits_net, "digits:": digits, "digits:score": score_net}
        return noise_detect(noise_detect.parse(params), on, make_context(targets, conditions))

    return run


def test_auroc_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(0)
    clean, moved = rng.integers(0, 6, 25).astype(float), rng.integers(2, 8, 31).astype(float)
    pairs = [(m > c) + 0.5 * (m == c) for m in moved for c in clean]
    assert auroc(clean, moved) == pytest.approx(np.mean(pairs))
    assert auroc(clean, clean) == 0.5


def test_the_kernel_distance_is_the_textbook_double_sum():
    reference = torch.randn((9, 4), generator=torch.Generator().manual_seed(1))
    x = torch.randn((3, 4), generator=torch.Generator().manual_seed(2))
    squared = [float(((a - b) ** 2).sum()) for a in reference for b in reference]
    median = sorted(s for s in squared if s > 0)[(len([s for s in squared if s > 0]) - 1) // 2]

    def kernel(a, b):
        return np.mean([np.exp(-float(((a - b) ** 2).sum()) / (median * 2.0**j)) for j in (-2, -1, 0, 1, 2)])

    expected = [
        1
        + np.mean([kernel(a, b) for a in reference for b in reference])
        - 2 * np.mean([kernel(row, b) for b in reference])
        for row in x
    ]
    assert Reference(reference).distance(x) == pytest.approx(expected, rel=1e-4)


def test_noise_keeps_unit_variance_along_the_way():
    kept, spread = noise_predictor.kept_and_noise(torch.tensor([0.001, 0.1, 0.3]))
    assert torch.allclose(kept**2 + spread**2, torch.ones(3))
    assert (spread[1:] > spread[:-1]).all()


@pytest.mark.parametrize("detector", ["eps_mmd", "eps_norm", "single_score"])
def test_large_changes_are_seen_and_the_controls_stand_beside_the_attack(run, detector):
    table = run({**PARAMS, "detector": detector})
    assert set(table.conditions) == {"baseline", "pgd=0.2", "random_sign=0.2", "random_sphere=0.2"}
    assert (table.column("auroc", "baseline") == 0.5).all()
    assert (table.column("auroc", "random_sign=0.2") > 0.6).all()
    assert table.column("accuracy", "pgd=0.2").mean() < table.column("accuracy", "random_sign=0.2").mean()


def test_no_split_of_units_or_conditions_shows_in_the_numbers(run, units):
    whole = run()
    assert type(whole).concat([run(on=[unit]) for unit in units[1::-1]]) == whole
    part = run(conditions={"random_sphere=0.2"})
    assert part == whole.select(conditions=part.conditions)


def test_the_detectors_noise_is_the_units(run, units):
    assert run(on=units[:1]) == run(on=units[:1])
    assert (run(on=units[:1]).array("auroc")[:, 1:] != run(on=units[1:2]).array("auroc")[:, 1:]).any()


def test_an_exploration_leaves_the_claim_of_excess_over_both_controls(
    make_context, digits, digits_net, score_net, units
):
    context = make_context({"digits:cnn": digits_net, "digits:": digits, "digits:score": score_net})
    noise_detect(noise_detect.parse(PARAMS), units[:2], context)
    claims = {row["claim"] for row in context.artifacts["contrasts.json"]}
    assert claims == {"pgd=0.2 beyond random_sign=0.2", "pgd=0.2 beyond random_sphere=0.2"}
    assert len(context.artifacts["detection.json"]) == 4
    assert "<svg" in context.artifacts["detection.svg"]
    assert "<svg" in context.artifacts["examples.svg"]
    size = {row["condition"]: row for row in context.artifacts["strength.json"]}
    assert size["pgd=0.2"]["linf"] == pytest.approx(0.2, abs=1e-6)
    assert size["random_sphere=0.2"]["l2"] == pytest.approx(size["pgd=0.2"]["l2"], rel=1e-3)


def test_a_predictor_of_other_images_is_refused(run, make_context, digits, digits_net, units):
    context = make_context({"digits:cnn": digits_net, "digits:": digits, "digits:score": digits_net})
    with pytest.raises(TargetError, match="cannot take 64 pixels and a time"):
        noise_detect(noise_detect.parse(PARAMS), units[:1], context)


def test_the_trained_predictor_knows_of_new_images_more_than_that_noise_is_noise(digits, monkeypatch):
    monkeypatch.setattr(noise_predictor, "STEPS", 1_000)  # of 5,000, which reach 0.51
    train = digits.images[list(digits.train)]
    net = noise_predictor.trained_predictor(noise_predictor.train(train), "cpu")
    x = 2 * digits.images[list(digits.test)].flatten(1) - 1
    t = torch.full((len(x), 1), 0.05)
    kept, spread = noise_predictor.kept_and_noise(t)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        left = float(((noise_predictor.predict(net, kept * x + spread * z, t) - z) ** 2).mean())
    assert left < 0.7  # 1 for a predictor that always says zero


def test_clean_against_clean_is_no_detection(run, digits, digits_net, score_net, units):
    assert (run().column("auroc", "baseline") == 0.5).all()
    params = noise_detect.parse({**PARAMS, "items": 60})
    found = []
    for unit in units:  # other clean images: half of the pairs, within its interval
        score = detector_of(params, score_net, digits, unit)
        items = list(digits.draw(unit.rng("two groups"), 160))
        found.append(auroc(score(digits.images[items[:80]]), score(digits.images[items[80:]])))
    half = 4.60 * np.std(found, ddof=1) / np.sqrt(len(found))  # t quantile of 99 %, four degrees of freedom
    assert abs(np.mean(found) - 0.5) <= half + 0.01


def test_a_control_cannot_be_switched_off():
    with pytest.raises(ParamError, match="no param 'controls'"):
        noise_detect.parse({"controls": "none"})
