"""Hunting inside a unit: what is tried, what is kept, what is judged."""

import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch

from agentkit.errors import ParamError
from agentkit.testing import ToolCase
from agentkit_attention.errors import BadSearchError
from agentkit_attention.guide_run import Scores
from agentkit_attention.hunt import HuntHeads, hunt
from agentkit_attention.hunt_run import draw_each, judged, search
from agentkit_attention.models import describe
from agentkit_attention.targets import digits_dit, digits_judge
from tests.attention.conftest import BenchContext
from tests.attention.naive import hook_count, weights_sha256

QUICK = {"steps": 2, "n": 3, "search_n": 4, "k": 2, "sites": "L1.*, L2.*", "features": None}


class Brightness:
    low, high = 0.0, 1.0

    def score(self, images, labels):
        return images.flatten(1).mean(1)


@pytest.fixture(scope="module")
def targets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers, about itself, at import
        drawn = digits_dit.load("", "cpu")
    judge = digits_judge.load("", "cpu")
    return {"digits-dit:": drawn, "digits-judge:": judge, "digits:cnn": Brightness()}


@pytest.fixture
def hctx(targets):
    return BenchContext(targets)


def test_every_head_tried_is_in_the_table_and_the_find_is_judged_beside_random_heads(units, hctx, targets):
    before = weights_sha256(targets["digits-dit:"].model), hook_count(targets["digits-dit:"].model)
    table = hunt(HuntHeads(**QUICK, u=(0.5, 1.0)), units, hctx)
    tried = [f"L{layer}.H{head}" for layer in (1, 2) for head in range(6)]
    judged_ = ["hunted=0.5", "hunted=1", "random_k=0.5", "random_k=1"]
    assert set(table.conditions) == {"baseline", *tried, *judged_}
    assert np.isfinite([table.column("search_gain", h) for h in tried]).all()
    assert np.isnan(table.column("judge", tried[0])).all()
    assert np.isfinite(table.array("objective")[:, [table.conditions.index(c) for c in judged_]]).all()
    assert (weights_sha256(targets["digits-dit:"].model), hook_count(targets["digits-dit:"].model)) == before
    rows = hctx.artifacts["hunt.csv"]
    assert len(rows) == 12 * len(units)
    assert sum(r["hunted"] for r in rows) == 2 * len(units)


def test_the_hunted_heads_are_the_best_of_those_that_saw_every_sample(units, targets, hctx):
    params = HuntHeads(**QUICK)
    described = describe(targets["digits-dit:"])
    pool = described.table.select(params.sites)
    gains, found = search(params, targets["digits-dit:"], described, pool, units[0], Scores(params, hctx))
    finalists = {h: g for h, (g, n) in gains.items() if n == params.search_n}
    assert [h.name for h in found] == sorted(finalists, key=lambda h: -finalists[h])[:2]
    assert {n for _, n in gains.values()} == {2, 4}


def test_heads_drawn_side_by_side_look_as_if_drawn_alone(units, targets):
    params = HuntHeads(**QUICK)
    described = describe(targets["digits-dit:"])
    heads = described.table.select("L1.H0, L4.H3, L5.H5")
    together = draw_each(params, targets["digits-dit:"], described, heads, units[0], "search/0")
    alone = draw_each(
        params.model_copy(update={"technique": "noise", "u_search": 0.0}), targets["digits-dit:"], described,
        heads[:1], units[0], "search/0",
    )  # fmt: skip
    assert torch.equal(together[0], alone[0])
    from agentkit_attention.edits import Condition
    from agentkit_attention.guide_run import draw

    for head, images in zip(heads, together[1:], strict=True):
        condition = Condition(head.name, (head,), "identity", 1.0)
        single = draw(params, targets["digits-dit:"], described, condition, units[0], "search/0")
        assert torch.allclose(images, single, atol=1e-5)
        assert not torch.allclose(images, together[0], atol=1e-3)


def test_fresh_samples_are_not_those_of_the_search_and_the_control_is_drawn_anew(units, targets):
    params = HuntHeads(**QUICK)
    pool = describe(targets["digits-dit:"]).table.heads
    controls = {judged(params, pool, pool[:2], u)["random_k"].heads for u in units}
    assert len(controls) == len(units)
    a, b = (units[0].torch_generator(s).initial_seed() for s in ("latents", "search/0"))
    assert a != b


def test_a_find_at_strength_zero_is_no_guidance_bit_for_bit(units, hctx):
    table = hunt(HuntHeads(**QUICK, u=0.0), units[:2], hctx)
    for metric in ("judge", "objective"):
        for condition in ("hunted", "random_k"):
            assert (table.column(metric, condition) == table.column(metric, "baseline")).all()


def test_hunting_for_more_than_there_is_or_with_its_own_judge_is_refused(units, hctx):
    with pytest.raises(BadSearchError, match="names 12 heads"):
        hunt(HuntHeads(**QUICK | {"k": 13}), units[:1], hctx)
    with pytest.raises(ParamError, match="u_search|between 0 and 1"):
        hunt(HuntHeads(**QUICK, u_search=2.0), units[:1], hctx)
    with pytest.raises(ParamError, match="judge"):
        hunt.parse({"judge": "digits:cnn"})


class TestHunt(ToolCase):
    tool = hunt
    params: ClassVar = QUICK
    n_units = 2
