import numpy as np
import pytest
import torch

from agentkit.errors import ParamError
from agentkit_attention.list_sites import Sites, sites
from agentkit_attention.models import describe
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from agentkit_attention.screen_heads import ScreenHeads, screen_heads
from agentkit_attention.screen_run import ranked
from tests.attention import zoo
from tests.attention.naive import hook_count, weights_sha256


def test_the_screen_ranks_heads_like_the_exact_sweep(units, ctx):
    approx = screen_heads(ScreenHeads(n=3, candidates=5), units, ctx)
    exact = perturb_heads(PerturbHeads(n=3, candidates=5), units, ctx)
    a = approx.array("approx_effect").mean(0)[1:]
    e = (exact.array("margin") - exact.array("margin")[:, :1]).mean(0)[1:]
    order = [np.argsort(np.argsort(x)) for x in (a, e)]
    assert np.corrcoef(*order)[0, 1] > 0.8
    assert len(set(np.argsort(-abs(e))[:10]) & set(np.argsort(-abs(a))[:20])) >= 8
    assert approx.column("approx_effect", "baseline").tolist() == [0, 0, 0]


def test_a_small_perturbation_is_predicted_to_its_first_order(minilm, units, ctx):
    """The exact change for a small strength, divided by the predicted one, is close to one."""
    strength = 0.02
    params = {"sites": "L5.*", "n": 3, "candidates": 4, "strength": strength}
    approx = screen_heads(ScreenHeads(**params), units[:1], ctx).array("approx_effect")[0, 1:]
    exact = perturb_heads(PerturbHeads(**params), units[:1], ctx).array("margin")[0]
    np.testing.assert_allclose(exact[1:] - exact[0], approx, atol=2e-5, rtol=0.1)


def test_a_head_whose_output_enters_linearly_is_screened_exactly():
    """The last layer of a model without later nonlinearity: the gradient times the change is the change."""
    model, inputs = zoo.tiny("llama")
    table = describe(model).table
    site = table.sites[-1]
    taken = {}

    def tap(call):
        taken[call.site] = call.out
        return

    from agentkit_attention.intercept import watching

    weight = torch.randn(24, generator=torch.Generator().manual_seed(5))
    projection = model.layers[-1].self_attn.o_proj
    with torch.no_grad(), watching(model, tap):
        model(**inputs)
    z = taken[site.key].clone().requires_grad_(True)
    score = (projection(z.transpose(1, 2).flatten(2)) @ weight).sum()
    gradient = torch.autograd.grad(score, z)[0]
    for head in range(4):
        changed = z.detach().clone()
        changed[:, head] = 0
        exact = (projection(changed.transpose(1, 2).flatten(2)) @ weight).sum() - score
        first_order = (gradient[:, head] * (changed - z)[:, head]).sum()
        assert abs(exact - first_order) <= 1e-5 * max(1, abs(exact))


def test_screening_leaves_the_model_alone(minilm, units, ctx):
    before = weights_sha256(minilm.model), hook_count(minilm.model)
    screen_heads(ScreenHeads(n=2, candidates=3, technique="mean_ablate"), units[:1], ctx)
    assert (weights_sha256(minilm.model), hook_count(minilm.model)) == before
    assert all(p.grad is None for p in minilm.model.parameters())


def test_the_ranked_table_keeps_the_largest_effects_and_says_what_it_is():
    rows = ranked(["a", "b", "c"], np.array([[0.1, -3.0, 0.2]]), 2)
    assert [r["head"] for r in rows] == ["b", "c"]
    assert "approx_effect (first order)" in rows[0]


def test_a_screen_takes_one_strength_and_single_heads():
    with pytest.raises(ParamError, match="one strength"):
        screen_heads.parse({"strength": [0.5, 1.0]})
    with pytest.raises(ParamError, match="single heads"):
        screen_heads.parse({"group": "layer"})


def test_sites_lists_every_head_with_the_techniques_it_can_take(units, ctx):
    table = sites(Sites(), units[:2], ctx)
    assert table.column("layers", "baseline").tolist() == [6, 6]
    assert table.column("heads", "baseline").tolist() == [72, 72]
    rows = ctx.artifacts["sites.csv"]
    assert rows[3]["address"] == "encoder.layer.3"
    assert rows[3]["short"] == "L3"
    assert "temperature" in rows[3]["techniques"]
    assert "joint_identity" not in rows[3]["techniques"]


@pytest.mark.parametrize(("name", "expected"), [("sd3", (0, 16)), ("flux", (5, 21))])
def test_image_rows_are_found_where_they_are(name, expected):
    model, inputs = zoo.diffusion_model(name)
    described = describe(zoo.Wrapped(model, inputs))
    assert {described.image_rows(s) for s in described.table.sites} == {expected}
    assert all(described.joint(s) for s in described.table.sites)


def test_rows_of_a_pure_image_stream_are_all_image_rows():
    model, inputs = zoo.diffusion_model("dit")
    described = describe(zoo.Wrapped(model, inputs))
    assert {described.image_rows(s) for s in described.table.sites} == {(0, 16)}
    assert not any(described.joint(s) for s in described.table.sites)
