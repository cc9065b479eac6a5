"""Skipping whole layers: against models that really lack them."""

import pytest
import torch

from agentkit.errors import ParamError
from agentkit_attention.edits import Condition, edited_pass, whole_batch
from agentkit_attention.models import describe
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from agentkit_attention.sites import find_sites
from agentkit_attention.sweep import HeadSweep
from agentkit_attention.techniques import EditState
from tests.attention import zoo
from tests.attention.naive import hook_count, weights_sha256


def by_layer(table, strength):
    layers = {}
    for head in table.heads:
        layers.setdefault(head.site.layer, []).append(head)
    return [Condition(f"L{n}", tuple(heads), "skip_layer", strength) for n, heads in layers.items()]


@pytest.mark.parametrize(("name", "blocks"), [("bert", "encoder.layer"), ("gpt2", "h"), ("llama", "layers")])
def test_a_skipped_layer_is_a_layer_that_is_not_there(name, blocks):
    model, inputs = zoo.tiny(name)
    table, n_items = find_sites(model, lambda: model(**inputs)), len(inputs["input_ids"])
    before = weights_sha256(model), hook_count(model)
    sweep = HeadSweep(model, table)
    values = sweep.run(
        inputs, n_items, by_layer(table, 1.0), lambda out, rows: zoo.output_tensor(out), engine="spawn"
    )
    assert (weights_sha256(model), hook_count(model)) == before
    layers = model.get_submodule(blocks)
    parent, _, attribute = blocks.rpartition(".")
    for i in range(len(layers)):
        shorter = torch.nn.ModuleList(layer for n, layer in enumerate(layers) if n != i)
        setattr(model.get_submodule(parent), attribute, shorter)
        model.config.num_hidden_layers = len(shorter)
        with torch.no_grad():
            expected = zoo.output_tensor(model(**inputs))
        setattr(model.get_submodule(parent), attribute, layers)
        model.config.num_hidden_layers = len(layers)
        assert torch.allclose(values[1 + i], expected, atol=1e-6), i


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("name", zoo.DIFFUSION)
def test_blocks_of_diffusion_transformers_are_skipped_by_degrees(name, place):
    model, inputs = zoo.diffusion_model(name)
    described = describe(zoo.Wrapped(model, inputs))
    block = described.table.sites[place].block
    heads = tuple(h for h in described.table.heads if h.site.block == block)
    with torch.no_grad():
        untouched = model(**inputs).sample

        def skipped(u):
            return edited_pass(
                model, described.table, whole_batch(Condition("c", heads, "skip_layer", u), 2),
                lambda: model(**inputs), EditState(), torch.arange(2),
            ).sample  # fmt: skip

        assert torch.equal(skipped(0.0), untouched)
        assert 0 < (skipped(0.1) - untouched).abs().max() < (skipped(1.0) - untouched).abs().max()


def test_a_part_of_a_layer_is_refused_with_what_is_missing(units, ctx):
    with pytest.raises(ParamError, match="group: layer"):
        perturb_heads.parse({"technique": "skip_layer"})
    with pytest.raises(ParamError, match=r"L2\.H0.*is not among the heads"):
        perturb_heads(PerturbHeads(sites="L2.H1", group="set", technique="skip_layer"), units[:1], ctx)


def test_layers_of_minilm_are_skipped_by_the_tool(units, ctx):
    table = perturb_heads(PerturbHeads(group="layer", technique="skip_layer"), units[:2], ctx)
    assert table.conditions == ("baseline", *(f"L{i}" for i in range(6)))
    assert (table.array("cosine")[:, 1:] < 0.999).all()
    zero = perturb_heads(PerturbHeads(group="layer", technique="skip_layer", strength=0.0), units[:1], ctx)
    assert all(zero.column("margin", c) == zero.column("margin", "baseline") for c in zero.conditions)
