"""Perturbed attention in diffusion transformers, against diffusers' own processors and guider conventions."""

import pytest
import torch

from agentkit_attention.edits import Condition, edited_pass, whole_batch
from agentkit_attention.models import describe
from agentkit_attention.techniques import EditState
from tests.attention import zoo

IDENTITY_EFFECT = 1e-3


def perturbed(model, described, inputs, heads, technique, strength):
    rows = len(inputs["hidden_states"])
    condition = Condition("c", tuple(heads), technique, strength)
    state = EditState(image_rows=described.rows)
    with torch.no_grad():
        return edited_pass(
            model, described.table, whole_batch(condition, rows), lambda: model(**inputs), state, torch.arange(rows)
        ).sample  # fmt: skip


@pytest.fixture(params=zoo.DIFFUSION)
def diffusion(request):
    model, inputs = zoo.diffusion_model(request.param)
    return request.param, model, describe(zoo.Wrapped(model, inputs)), inputs


@pytest.mark.parametrize("name", ["dit", "pixart"])
def test_identity_at_one_equals_diffusers_own_pag_hook(name):
    from diffusers.hooks.layer_skip import LayerSkipConfig, _apply_layer_skip_hook

    model, inputs = zoo.diffusion_model(name)
    described = describe(zoo.Wrapped(model, inputs))
    heads = [
        h for h in described.table.heads if "blocks.1" in h.site.key.module and h.site.queries == h.site.keys
    ]
    ours = perturbed(model, described, inputs, heads, "identity", 1.0)
    config = LayerSkipConfig(
        indices=[1], fqn="transformer_blocks", skip_attention=False, skip_attention_scores=True, skip_ff=False
    )
    _apply_layer_skip_hook(model, config, "skip")
    with torch.no_grad():
        assert torch.equal(ours, model(**inputs).sample)


def test_joint_identity_at_one_equals_diffusers_pag_processor():
    from diffusers.models.attention_processor import PAGJointAttnProcessor2_0

    model, inputs = zoo.diffusion_model("sd3")
    described = describe(zoo.Wrapped(model, inputs))
    heads = [h for h in described.table.heads if "blocks.0" in h.site.key.module]
    ours = perturbed(model, described, inputs, heads, "joint_identity", 1.0)
    attention = model.transformer_blocks[0].attn
    attention.set_processor(PAGJointAttnProcessor2_0())
    doubled = {n: torch.cat([v, v]) for n, v in inputs.items()}  # it perturbs the second half of its batch
    with torch.no_grad():
        halves = model(**doubled).sample.chunk(2)
    assert (ours - halves[1]).abs().max() <= 1e-6
    assert (halves[0] - halves[1]).abs().max() > IDENTITY_EFFECT


def test_all_four_transformers_take_a_single_head_at_any_strength(diffusion):
    _, model, described, inputs = diffusion
    head = next(h for h in described.table.heads if h.site.queries == h.site.keys)
    with torch.no_grad():
        untouched = model(**inputs).sample
    half = perturbed(model, described, inputs, [head], "identity", 0.5)
    whole = perturbed(model, described, inputs, [head], "identity", 1.0)
    assert torch.equal(perturbed(model, described, inputs, [head], "identity", 0.0), untouched)
    assert 0 < (half - untouched).abs().max() < (whole - untouched).abs().max() * 1.5


def test_blur_honours_every_finite_sigma(diffusion):
    name, model, described, inputs = diffusion
    heads = [h for h in described.table.heads if h.site.queries == h.site.keys][:4]
    outs = [perturbed(model, described, inputs, heads, "seg_blur", s) for s in (0.1, 0.5, 1.0, 100.0)]
    mean = perturbed(model, described, inputs, heads, "seg_mean", 1.0)
    with torch.no_grad():
        untouched = model(**inputs).sample
    assert torch.allclose(outs[0], untouched, atol=1e-5), name
    assert torch.allclose(outs[3], mean, atol=1e-4), name
    assert len({round(float(o.sum()), 6) for o in outs}) == 4


@pytest.mark.parametrize("technique", ["joint_identity", "ii_renorm"])
def test_joint_techniques_work_where_text_shares_the_stream(technique):
    for name in ("sd3", "flux"):
        model, inputs = zoo.diffusion_model(name)
        described = describe(zoo.Wrapped(model, inputs))
        out = perturbed(model, described, inputs, described.table.heads[:4], technique, 1.0)
        with torch.no_grad():
            assert (out - model(**inputs).sample).abs().max() > 1e-5
