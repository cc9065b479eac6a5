"""Every technique against the explicit attention map, in every kind of mask."""

import math

import pytest
import torch

from agentkit_attention import edits as engine
from agentkit_attention.calls import AttentionCall, Pairs, SiteKey
from agentkit_attention.edits import Condition, Edit
from agentkit_attention.errors import NoJointStreamError, NotSelfAttentionError, UnsupportedAttentionError
from agentkit_attention.sites import Head, Site
from agentkit_attention.technique_table import JOINT_TECHNIQUES, TECHNIQUES
from agentkit_attention.techniques import KERNELS, EditState

ROWS, HEADS, KV_HEADS, TOKENS, DIM = 3, 4, 2, 9, 8
IMAGE = (0, 4)  # a 2 x 2 grid in front of five text tokens


def masks():
    g = torch.Generator().manual_seed(1)
    keep = torch.ones(ROWS, TOKENS, dtype=torch.bool)
    keep[0, 6:] = False
    padding = keep[:, None, None, :].expand(ROWS, 1, TOKENS, TOKENS)
    bias = torch.randn(1, HEADS, TOKENS, TOKENS, generator=g)
    blind = padding.clone()
    blind[1, 0, 5] = False
    lowest = torch.finfo(torch.float32).min
    return {
        "no mask": (None, False),
        "causal": (None, True),
        "padding": (padding, False),
        "position bias": (bias, False),
        "padded bias": (bias.masked_fill(~padding, -math.inf), False),
        "causal bias": (bias, True),
        "a row that sees nothing": (blind, False),
        "a row that sees nothing, as floats": (torch.zeros(blind.shape).masked_fill(~blind, lowest), False),
    }


def attention_call(mask, causal, queries=TOKENS, seed=0):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(ROWS, HEADS, queries, DIM, generator=g)
    k, v = (torch.randn(ROWS, KV_HEADS, TOKENS, DIM, generator=g) for _ in range(2))
    if causal and mask is not None:
        below = torch.ones(queries, TOKENS, dtype=torch.bool).tril()
        full = mask & below if mask.dtype == torch.bool else mask.masked_fill(~below, -math.inf)
    else:
        full = mask
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=full, is_causal=causal and mask is None, enable_gqa=True
    )
    return AttentionCall(SiteKey("layer.0"), out, q, k, v, mask, causal, DIM**-0.5, "sdpa")


def all_pairs(call, strength):
    rows, heads = torch.meshgrid(torch.arange(ROWS), torch.arange(HEADS), indexing="ij")
    rows, heads = rows.flatten(), heads.flatten()
    strengths = torch.full((len(rows),), float(strength))
    return Pairs(call, rows, heads, strengths, rows, (rows + 1) % ROWS)


def explicit(call):
    """Logits, allowed keys and values of all (row, head) pairs, by the book."""
    k, v = (t.repeat_interleave(HEADS // KV_HEADS, dim=1) for t in (call.k, call.v))
    logits = call.q @ k.transpose(2, 3) * call.scale
    allowed = torch.ones_like(logits, dtype=torch.bool)
    if call.mask is not None and call.mask.dtype == torch.bool:
        allowed = allowed & call.mask
    elif call.mask is not None:
        allowed = allowed & (call.mask > 0.5 * torch.finfo(torch.float32).min)
        logits = logits + call.mask
    if call.causal:
        allowed = allowed & torch.ones(logits.shape[2:], dtype=torch.bool).tril()
    return logits.masked_fill(~allowed, -math.inf), allowed, v


def swapped_map(name, call, strength):
    """The map T of a technique, and the share u with which it replaces A."""
    logits, allowed, _ = explicit(call)
    attention, eye = logits.softmax(-1), torch.eye(TOKENS)
    image = torch.zeros(TOKENS, dtype=torch.bool)
    image[IMAGE[0] : IMAGE[1]] = True
    both = image[:, None] & image[None, :]
    k = call.k.repeat_interleave(HEADS // KV_HEADS, dim=1)
    bias = logits - call.q @ k.transpose(2, 3) * call.scale
    if name == "identity":
        return eye.expand_as(attention), strength
    if name == "uniform":
        return allowed / allowed.sum(-1, keepdim=True), strength
    if name == "temperature":
        return (logits / strength).softmax(-1), 1.0
    if name == "max":
        return torch.nn.functional.one_hot(logits.argmax(-1), TOKENS).float(), strength
    if name == "seg_mean":
        q = call.q.clone()
        q[:, :, image] = call.q[:, :, image].mean(2, keepdim=True)
    elif name == "seg_blur":
        q, grid = call.q.clone(), [(0, 0), (0, 1), (1, 0), (1, 1)]
        weight = torch.tensor(
            [[math.exp(-((a - c) ** 2 + (b - d) ** 2) / (2 * strength**2)) for c, d in grid] for a, b in grid]
        )
        q[:, :, image] = torch.einsum(
            "ij,bhjd->bhid", weight / weight.sum(1, keepdim=True), call.q[:, :, image]
        )
    elif name == "joint_identity":
        return logits.masked_fill(both & ~eye.bool(), -math.inf).softmax(-1), strength
    elif name == "ii_renorm":
        mass = (attention * image).sum(-1, keepdim=True)
        return torch.where(image[:, None], attention * ~image + mass * eye, attention), strength
    elif name.startswith("block_zero_"):
        rows, keys = (image if side == "i" else ~image for side in name[-2:])
        return torch.where(rows[:, None] & keys[None, :], torch.zeros(()), attention), strength
    return (q @ k.transpose(2, 3) * call.scale + bias).softmax(-1), 1.0 if name == "seg_blur" else strength


MAP_TECHNIQUES = [
    "identity",
    "uniform",
    "temperature",
    "max",
    "seg_mean",
    "seg_blur",
    "joint_identity",
    *JOINT_TECHNIQUES[1:],
]
ON_IMAGE = {"seg_mean", "seg_blur", *JOINT_TECHNIQUES}


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("name", MAP_TECHNIQUES)
def test_a_technique_equals_its_explicit_map(name, mask):
    call = attention_call(*masks()[mask])
    strength = {"temperature": 2.5, "seg_blur": 0.8}.get(name, 0.7)
    state = (
        EditState(image_rows={SiteKey("layer.0"): IMAGE}, grid=(2, 2)) if name in ON_IMAGE else EditState()
    )
    new = KERNELS[name](all_pairs(call, strength), state).view(ROWS, HEADS, TOKENS, DIM)
    _, allowed, v = explicit(call)
    T, u = swapped_map(name, call, strength)
    expected = (1 - u) * call.out + u * (T @ v)
    expected = torch.where(allowed.any(-1, keepdim=True) | (name == "identity"), expected, call.out)
    if name in ON_IMAGE and "zero_t" not in name:
        expected[:, :, IMAGE[1] :] = call.out[:, :, IMAGE[1] :]
    assert torch.allclose(new, expected, atol=2e-6, rtol=0)
    blind = name == "block_zero_it" and call.causal  # the text comes after the image, which never saw it
    assert torch.allclose(new, call.out, atol=1e-3) is blind


@pytest.mark.parametrize("mask", ["no mask", "padding", "position bias"])
@pytest.mark.parametrize("name", ["identity", "uniform", "max", "seg_mean"])
def test_strength_zero_gives_the_outputs_back_bit_for_bit(name, mask):
    call = attention_call(*masks()[mask])
    new = KERNELS[name](all_pairs(call, 0), EditState())
    assert torch.equal(new.view_as(call.out), call.out)


def test_identity_at_one_is_the_values_bit_for_bit_and_groups_share_their_own():
    call = attention_call(None, True)
    new = KERNELS["identity"](all_pairs(call, 1), EditState()).view_as(call.out)
    assert torch.equal(new, call.v.repeat_interleave(HEADS // KV_HEADS, dim=1))


def test_causal_uniform_is_the_cumulative_mean():
    call = attention_call(None, True)
    new = KERNELS["uniform"](all_pairs(call, 1), EditState()).view_as(call.out)
    v = call.v.repeat_interleave(HEADS // KV_HEADS, dim=1)
    mean = v.cumsum(2) / torch.arange(1, TOKENS + 1)[:, None]
    assert torch.allclose(new, mean, atol=1e-6)


def test_blur_runs_from_untouched_to_the_mean_query():
    call, state = attention_call(None, False), EditState(image_rows={SiteKey("layer.0"): IMAGE}, grid=(2, 2))

    def blurred(sigma):
        return KERNELS["seg_blur"](all_pairs(call, sigma), state).view_as(call.out)

    mean = KERNELS["seg_mean"](all_pairs(call, 1), state).view_as(call.out)
    assert torch.allclose(blurred(1e6), mean, atol=1e-6)
    assert torch.allclose(blurred(math.inf), mean, atol=1e-6)
    assert torch.allclose(blurred(0.1), call.out, atol=1e-6)
    assert not torch.allclose(blurred(1), mean, atol=1e-3)
    assert not torch.allclose(blurred(1), call.out, atol=1e-3)


def test_the_bias_is_divided_by_the_temperature_too():
    call = attention_call(*masks()["position bias"])
    new = KERNELS["temperature"](all_pairs(call, 2), EditState()).view_as(call.out)
    logits, _, v = explicit(call)
    assert torch.allclose(new, (logits / 2).softmax(-1) @ v, atol=1e-6)


def test_ties_go_to_the_first_key():
    call = attention_call(None, False)
    call.q = torch.zeros_like(call.q)
    new = KERNELS["max"](all_pairs(call, 1), EditState()).view_as(call.out)
    first = call.v.repeat_interleave(HEADS // KV_HEADS, dim=1)[:, :, :1]
    assert torch.equal(new, first.expand_as(new))


def test_techniques_on_head_outputs_do_what_they_say():
    call = attention_call(None, False)
    out, state = call.out, EditState(means={call.site: torch.ones(HEADS, DIM)})
    eps = torch.randn(ROWS, TOKENS, DIM, generator=torch.Generator().manual_seed(2))
    state.noise = lambda site, head, shape: eps
    state.keep = torch.tensor([[True] * 9, [True] * 5 + [False] * 4, [True] * 9])

    def edited(name, strength):
        return KERNELS[name](all_pairs(call, strength), state).view_as(out)

    assert torch.equal(edited("ablate", 1), torch.zeros_like(out))
    assert torch.equal(edited("scale", -2), out * -2)
    assert torch.allclose(edited("mean_ablate", 1), torch.ones_like(out))
    assert torch.equal(edited("resample", 1), out.roll(-1, 0))
    std = out[1, 2, :5].std(correction=0)
    assert torch.allclose(edited("noise", 0.5)[1, 2], out[1, 2] + 0.5 * std * eps[1], atol=1e-6)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_edits_touch_their_own_rows_and_heads_and_nothing_else(monkeypatch, in_place, block):
    monkeypatch.setattr(engine, "BLOCK", block)
    call, expected = attention_call(None, False), attention_call(None, False).out
    site = Site(call.site, "layer.0", "layer.0", 0, HEADS, KV_HEADS, DIM, TOKENS, TOKENS, "sdpa", True)
    edits = [
        Edit(Condition("a", (), "ablate", 0.5), Head(0, 2, site), 0, 1),
        Edit(Condition("b", (), "ablate", 1.0), Head(0, 3, site), 1, 1),
        Edit(Condition("c", (), "resample", 1.0), Head(0, 1, site), 0, 2),
        Edit(Condition("d", (), "identity", 1.0), Head(0, 0, site), 2, 1),
    ]
    if in_place:
        edits.pop(2)
    else:
        expected[:2, 1] = expected[:2, 1].flip(0)
    expected[0, 2] /= 2
    expected[1, 3] = 0
    expected[2, 0] = call.v[2, 0]
    before = call.out.clone()
    new = engine.apply_edits(call, edits, EditState(), torch.tensor([1, 0]), in_place=in_place)
    assert torch.equal(new, expected)
    assert (new is call.out) is in_place
    assert in_place or torch.equal(call.out, before)


def test_identity_between_different_lengths_is_refused_with_both_lengths():
    with pytest.raises(NotSelfAttentionError, match=r"4 queries meet 9 keys.*use_cache=False"):
        KERNELS["identity"](all_pairs(attention_call(None, False, queries=4), 1), EditState())


@pytest.mark.parametrize("name", JOINT_TECHNIQUES)
def test_joint_techniques_without_text_rows_are_refused(name):
    with pytest.raises(NoJointStreamError, match="use identity"):
        KERNELS[name](all_pairs(attention_call(None, False), 1), EditState())


def test_logits_that_cannot_be_formed_again_are_refused():
    call = attention_call(None, False)
    call.opaque = "softcap"
    for name in ("temperature", "max", "seg_mean"):
        with pytest.raises(UnsupportedAttentionError, match="softcap"):
            KERNELS[name](all_pairs(call, 2), EditState())
    KERNELS["uniform"](all_pairs(call, 1), EditState())


def test_every_technique_of_the_table_has_a_kernel():
    assert {*KERNELS, "skip_layer"} == set(TECHNIQUES)
