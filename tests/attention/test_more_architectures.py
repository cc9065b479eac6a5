"""The engine on classes it was not written for: each is exact, or refused with the reason."""

import warnings

import pytest
import torch

from agentkit_attention.edits import Condition
from agentkit_attention.errors import UnsupportedAttentionError
from agentkit_attention.intercept import watching
from agentkit_attention.sites import find_sites
from agentkit_attention.sweep import HeadSweep
from tests.attention import zoo_wider as zoo
from tests.attention.naive import hook_count, weights_sha256
from tests.attention.zoo import output_tensor


@pytest.fixture(autouse=True)
def _quiet_upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers and diffusers, about themselves and absent kernels
        yield


def forward(model, inputs):
    with torch.no_grad():
        return output_tensor(model(**inputs))


def swept(model, table, inputs, conditions, engine=None):
    sweep = HeadSweep(model, table)
    n_items = len(forward(model, inputs))
    values = sweep.run(inputs, n_items, conditions, lambda out, rows: output_tensor(out), engine=engine)
    return values, sweep.trace


@pytest.mark.parametrize("name", [*zoo.TEXT, *zoo.VISION, *zoo.DIFFUSION])
def test_every_head_is_found_hit_and_moves_the_output_and_nothing_else_changes(name):
    model, inputs = zoo.tiny(name)
    untouched, hooks, sha256 = forward(model, inputs), hook_count(model), weights_sha256(model)
    with watching(model, lambda call: None):
        assert torch.equal(forward(model, inputs), untouched)
    table = find_sites(model, lambda: model(**inputs))
    conditions = [Condition(h.name, (h,), "ablate", 1.0) for h in table.heads]
    cheapest, trace = swept(model, table, inputs, conditions)
    plain, counted = swept(model, table, inputs, conditions, engine="loop")
    assert torch.equal(plain[0], untouched)
    assert set(trace.hits) == set(counted.hits) == {s.address for s in table.sites}
    assert (cheapest - plain).abs().max() <= 1e-6 * plain.abs().max()
    assert ((plain[1:] - plain[0]).flatten(1).abs().amax(1) > 1e-6).all()
    assert torch.equal(forward(model, inputs), untouched)
    assert (hook_count(model), weights_sha256(model)) == (hooks, sha256)


@pytest.mark.parametrize("name", [*zoo.TEXT, *zoo.VISION, *zoo.DIFFUSION])
def test_identity_at_one_is_the_values_bit_for_bit_or_refused_where_only_outputs_are_reached(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    fused = [s for s in table.sites if s.engine != "projection"]
    for site in [s for s in fused if s.queries == s.keys][:2]:
        condition = Condition("all", tuple(h for h in table.heads if h.site == site), "identity", 1.0)

        def values(call, site=site):
            if call.site != site.key:
                return None
            return call.v.repeat_interleave(call.out.shape[1] // call.v.shape[1], dim=1)

        with watching(model, values):
            by_hand = forward(model, inputs)
        ours, _ = swept(model, table, inputs, [condition], engine="loop")
        assert torch.equal(ours[1], by_hand)
        assert not torch.equal(ours[0], by_hand)
    for site in [s for s in table.sites if s.engine == "projection"][:1]:
        head = next(h for h in table.heads if h.site == site)
        with pytest.raises(UnsupportedAttentionError, match=r"written by hand.*Choose ablate"):
            swept(model, table, inputs, [Condition("one", (head,), "identity", 1.0)])


@pytest.mark.parametrize("name", zoo.REFUSED)
def test_heads_that_cannot_be_told_apart_are_refused_with_the_module_and_the_reason(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    with pytest.raises(UnsupportedAttentionError, match=r"layers?\.0\.attention.*written by hand"):
        table.select("L0.H0")


@pytest.mark.parametrize("name", zoo.WITHOUT_ATTENTION)
def test_a_model_without_attention_says_so(name):
    model, inputs = zoo.tiny(name)
    with pytest.raises(UnsupportedAttentionError, match="no attention was seen"):
        find_sites(model, lambda: model(**inputs))


def test_head_outputs_that_travel_in_a_tuple_are_refused_by_name():
    import transformers

    torch.manual_seed(0)
    model = transformers.IBertModel(transformers.IBertConfig(**zoo.BERT)).eval()
    with pytest.raises(
        UnsupportedAttentionError, match=r"encoder\.layer\.0\.attention\.self.*cannot be reached"
    ):
        find_sites(model, lambda: model(**zoo.ids()))
