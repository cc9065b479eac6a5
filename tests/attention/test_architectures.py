"""The engine on tiny random models of many real classes."""

import warnings

import pytest
import torch
from torch import nn

from agentkit_attention.calls import SiteKey
from agentkit_attention.edits import Condition
from agentkit_attention.errors import UnsupportedAttentionError
from agentkit_attention.intercept import watching
from agentkit_attention.sites import find_sites
from agentkit_attention.spawn import RowPlan
from agentkit_attention.sweep import HeadSweep
from tests.attention import zoo
from tests.attention.naive import hook_count, weights_sha256

BY_HAND = ("deberta", "bloom", "gptj", "gptneo", "mpt")
"""Attention without a fused call: head outputs can be changed, maps and values cannot be reached."""
REFUSED = ("xlnet",)
FUSED = tuple(n for n in (*zoo.TEXT, *zoo.VISION, *zoo.DIFFUSION) if n not in (*BY_HAND, *REFUSED))
COUNTS_ITS_ROWS = ("t5", "bart", "swin", "albert", "bloom", "mpt", "cliptext")
"""Models whose rows cannot grow: several stacks, a block called repeatedly, or a tensor or pooling of its own."""


@pytest.fixture(autouse=True)
def _quiet_upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # transformers and diffusers, about themselves
        warnings.simplefilter("ignore", FutureWarning)
        yield


def forward(model, inputs):
    with torch.no_grad():
        return zoo.output_tensor(model(**inputs))


def swept(model, table, inputs, technique, strength, engine=None):
    n_items = len(forward(model, inputs))
    conditions = [Condition(h.name, (h,), technique, strength) for h in table.heads]
    sweep = HeadSweep(model, table)
    values = sweep.run(inputs, n_items, conditions, lambda out, rows: zoo.output_tensor(out), engine=engine)
    return values, sweep.trace


@pytest.mark.parametrize("name", [*zoo.TEXT, *zoo.VISION, *zoo.DIFFUSION])
def test_watching_changes_no_bit_and_leaves_nothing_behind(name):
    model, inputs = zoo.tiny(name)
    untouched, sha256, hooks = forward(model, inputs), weights_sha256(model), hook_count(model)
    seen = []
    with watching(model, seen.append):
        assert torch.equal(forward(model, inputs), untouched)
    assert seen or name in (*BY_HAND, *REFUSED)
    assert torch.equal(forward(model, inputs), untouched)
    assert (weights_sha256(model), hook_count(model)) == (sha256, hooks)


@pytest.mark.parametrize("name", FUSED)
def test_identity_at_one_makes_head_outputs_their_values_bit_for_bit(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    checked = []

    def swap(call):
        if call.q.shape[2] != call.k.shape[2] or call.site != site.key:
            return None
        values = call.v.repeat_interleave(call.out.shape[1] // call.v.shape[1], dim=1)
        checked.append(call.site)
        return values

    for site in [s for s in table.sites if s.queries == s.keys][:2]:
        with watching(model, swap):
            by_hand = forward(model, inputs)
        heads = tuple(h for h in table.heads if h.site == site)
        condition = Condition("all", heads, "identity", 1.0)
        collect = HeadSweep(model, table).run(
            inputs, len(by_hand), [condition], lambda out, rows: zoo.output_tensor(out), engine="loop"
        )
        assert torch.equal(collect[1], by_hand)
        assert not torch.equal(collect[0], by_hand)
    assert len(checked) > 0


@pytest.mark.parametrize("name", BY_HAND)
def test_attention_written_by_hand_takes_techniques_on_outputs_and_refuses_the_others(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    values, _ = swept(model, table, inputs, "ablate", 1.0)
    assert ((values[1:] - values[0]).flatten(1).abs().amax(1) > 1e-6).all()
    for technique in ("identity", "uniform", "temperature"):
        with pytest.raises(UnsupportedAttentionError, match="written by hand.*Choose ablate"):
            swept(model, table, inputs, technique, 1.0 if technique != "temperature" else 2.0)


@pytest.mark.parametrize("name", REFUSED)
def test_attention_that_cannot_be_reached_at_all_is_refused_with_the_reason(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    with pytest.raises(
        UnsupportedAttentionError, match="written by hand and its output projection was not found"
    ):
        table.select("L0.H0")


def test_soft_capped_logits_take_values_and_refuse_new_maps():
    model, inputs = zoo.tiny("gemma2")
    table = find_sites(model, lambda: model(**inputs))
    swept(model, table, inputs, "uniform", 1.0)
    with pytest.raises(UnsupportedAttentionError, match="softcap"):
        swept(model, table, inputs, "temperature", 2.0)


@pytest.mark.parametrize(
    "name", [n for n in (*zoo.TEXT, *zoo.VISION) if n not in (*COUNTS_ITS_ROWS, *REFUSED)]
)
def test_one_shared_pass_equals_the_plain_loop(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    shared, trace = swept(model, table, inputs, "ablate", 1.0, engine="spawn")
    plain, _ = swept(model, table, inputs, "ablate", 1.0, engine="loop")
    assert trace.engine == {"spawn": 1}
    assert (shared - plain).abs().max() <= 1e-6 * plain.abs().max()
    assert ((plain[1:] - plain[0]).flatten(1).abs().amax(1) > 1e-6).all()


@pytest.mark.parametrize("rows", [4, 6, 7, 24])
def test_a_batch_as_large_as_another_dimension_is_not_confused_with_it(rows):
    model, _ = zoo.tiny("bert")  # 4 heads, 7 tokens, head dim 6, width 24
    inputs = zoo.ids(rows, 7)
    table = find_sites(model, lambda: model(**inputs))
    shared, _ = swept(model, table, inputs, "ablate", 1.0, engine="spawn")
    plain, _ = swept(model, table, inputs, "ablate", 1.0, engine="loop")
    assert (shared - plain).abs().max() <= 1e-6 * plain.abs().max()


@pytest.mark.parametrize("name", [*COUNTS_ITS_ROWS, *zoo.DIFFUSION])
def test_models_whose_rows_cannot_grow_fall_back_to_the_loop_and_say_why(name):
    model, inputs = zoo.tiny(name)
    table = find_sites(model, lambda: model(**inputs))
    values, trace = swept(model, table, inputs, "ablate", 1.0)
    assert trace.engine == {"loop": 1}
    assert len(trace.reasons) == 1
    assert ((values[1:] - values[0]).flatten(1).abs().amax(1) > 1e-6).all()


def test_grouped_keys_arrive_unexpanded_and_causality_is_known():
    model, inputs = zoo.tiny("llama")
    seen = []
    with watching(model, seen.append):
        forward(model, {"input_ids": inputs["input_ids"]})
    assert [c.k.shape[1] for c in seen] == [2, 2, 2]
    assert all(c.causal and c.mask is None for c in seen)
    assert [c.site for c in seen] == [SiteKey(f"layers.{i}.self_attn") for i in range(3)]


def test_a_layer_that_is_called_repeatedly_has_one_name_per_call():
    model, inputs = zoo.tiny("albert")
    table = find_sites(model, lambda: model(**inputs))
    assert [s.layer for s in table.sites] == [0, 1, 2]
    values, _ = swept(model, table, inputs, "ablate", 1.0)
    assert len({v[0, 0, 0].item() for v in values}) == 13


def test_ablation_through_the_projection_equals_ablation_through_fused_attention():
    fused, inputs = zoo.text_model("bert")
    by_hand, _ = zoo.text_model("bert")
    table = find_sites(fused, lambda: fused(**inputs))
    expected, _ = swept(fused, table, inputs, "scale", 0.3)

    class ByHand(nn.Module):
        """BERT's self-attention with its softmax written out."""

        num_attention_heads = 4

        def __init__(self, theirs):
            super().__init__()
            self.query, self.key, self.value = theirs.query, theirs.key, theirs.value

        def forward(self, hidden_states, attention_mask=None, **_):
            def split(x):
                return x.unflatten(-1, (4, -1)).transpose(1, 2)

            q, k, v = (split(f(hidden_states)) for f in (self.query, self.key, self.value))
            logits = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
            if attention_mask is not None:
                logits = logits.masked_fill(~attention_mask, -torch.inf)
            return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2), None

    ByHand.__name__ = "OldSelfAttention"
    for layer in by_hand.encoder.layer:
        layer.attention.self = ByHand(layer.attention.self)
    hand_table = find_sites(by_hand, lambda: by_hand(**inputs))
    assert {s.engine for s in hand_table.sites} == {"projection"}
    values, _ = swept(by_hand, hand_table, inputs, "scale", 0.3)
    assert torch.allclose(values, expected, atol=1e-6)
    with pytest.raises(UnsupportedAttentionError, match="Choose ablate"):
        swept(by_hand, hand_table, inputs, "identity", 1.0)


class Encoder(nn.Module):
    """torch's own encoder, whose fused path usually hides attention."""

    def __init__(self, need_weights=None):
        super().__init__()
        torch.manual_seed(0)
        self.need_weights = need_weights
        if need_weights is None:
            layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        else:
            self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
        self.eval()

    def forward(self, x):
        if self.need_weights is None:
            return {"out": self.encoder(x)}
        return {"out": self.attention(x, x, x, need_weights=self.need_weights)[0]}


def test_torchs_own_encoder_is_caught_with_its_fast_path_on():
    model = Encoder()
    inputs = {"x": torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(0))}
    untouched = forward(model, inputs)
    table = find_sites(model, lambda: model(**inputs))
    assert {s.engine for s in table.sites} == {"mha"}
    values, _ = swept(model, table, inputs, "ablate", 1.0)
    assert torch.equal(values[0], untouched)
    assert torch.backends.mha.get_fastpath_enabled()
    attention = model.encoder.layers[1].self_attn
    weight = attention.out_proj.weight.detach().clone()
    for head in range(4):
        with torch.no_grad():
            attention.out_proj.weight[:, head * 6 : head * 6 + 6] = 0
        expected = forward(model, inputs)
        with torch.no_grad():
            attention.out_proj.weight.copy_(weight)
        assert torch.allclose(values[1 + 4 + head], expected, atol=1e-6)


def test_multihead_attention_without_weights_is_perturbed_and_with_weights_refused():
    inputs = {"x": torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(0))}
    good, bad = Encoder(need_weights=False), Encoder(need_weights=True)
    table = find_sites(good, lambda: good(**inputs))
    values, _ = swept(good, table, inputs, "uniform", 1.0)
    assert ((values[1:] - values[0]).flatten(1).abs().amax(1) > 1e-4).all()
    refused = find_sites(bad, lambda: bad(**inputs))
    with pytest.raises(UnsupportedAttentionError, match="need_weights=False"):
        refused.select("*")


def test_attention_imported_by_name_is_caught():
    early_bound = torch.nn.functional.scaled_dot_product_attention

    class Own(nn.Module):
        def forward(self, x):
            heads = x.unflatten(-1, (4, -1)).transpose(1, 2)
            return {"out": early_bound(heads, heads, heads).transpose(1, 2).flatten(2)}

    model, inputs = Own(), {"x": torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))}
    table = find_sites(model, lambda: model(**inputs))
    assert table.early_bound
    values, _ = swept(model, table, inputs, "ablate", 1.0)
    assert not values[1, :, :, :6].any()
    assert torch.equal(values[1, :, :, 6:], values[0, :, :, 6:])


def test_a_model_without_attention_is_refused():
    with pytest.raises(UnsupportedAttentionError, match="no attention was seen"):
        find_sites(nn.Linear(3, 3), lambda: None)


def test_a_compiled_model_is_refused():
    model = torch.compile(nn.Linear(3, 3))
    with pytest.raises(UnsupportedAttentionError, match=r"torch\.compile"):
        find_sites(model, lambda: None)


def test_windows_of_an_image_are_all_edited_and_items_cannot_be_told_apart():
    model, inputs = zoo.tiny("swin")
    table = find_sites(model, lambda: model(**inputs))
    first = table.heads[:1]
    sweep = HeadSweep(model, table)
    with pytest.raises(UnsupportedAttentionError, match="cannot tell them apart"):
        sweep.run(
            inputs, 3, [Condition("c", first, "resample", 1.0)], lambda out, rows: zoo.output_tensor(out)
        )
    edited = sweep.run(
        inputs, 3, [Condition("c", first, "ablate", 1.0)], lambda out, rows: zoo.output_tensor(out)
    )
    assert ((edited[1] - edited[0]).flatten(1).abs().amax(1) > 1e-6).all()


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "modernbert", "vit", "gptj"])
@pytest.mark.parametrize("technique", ["ablate", "resample"])
def test_rows_worked_on_in_tiles_give_the_same_values(monkeypatch, name, technique):
    from agentkit_attention import sweep as engine

    model, inputs = zoo.tiny(name)
    table, hooks = find_sites(model, lambda: model(**inputs)), hook_count(model)
    plain, _ = swept(model, table, inputs, technique, 1.0, engine="loop")
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    monkeypatch.setattr(engine, "FEWEST_TOKENS", 1)
    tiled, trace = swept(model, table, inputs, technique, 1.0, engine="spawn")
    assert trace.engine == {"spawn": 1}
    assert (tiled - plain).abs().max() <= 1e-6 * plain.abs().max()
    assert hook_count(model) == hooks
    assert not any("forward" in m.__dict__ for m in model.modules())


def test_tiles_are_even_and_hold_whole_copies_of_the_batch():
    plan = RowPlan(3, [0, 0, 0, 1, 1, 1], tile=10)
    assert plan.tiles(21) == [(0, 6), (6, 15), (15, 21)]
    assert plan.tiles(3) == [(0, 3)]
    assert RowPlan(3, [0]).tiles(6) == [(0, 6)]
    assert RowPlan(12, [0], tile=5).tiles(24) == [(0, 12), (12, 24)]


def test_a_cache_is_never_cut_into_tiles(monkeypatch):
    """A key-value cache remembers earlier calls of its layer: the second tile would attend to the first one's keys."""
    from agentkit_attention import sweep as engine

    model, inputs = zoo.tiny("llama")
    model.config.use_cache = True
    table = find_sites(model, lambda: model(**inputs))
    plain, _ = swept(model, table, inputs, "ablate", 1.0, engine="loop")
    monkeypatch.setattr(engine, "TILE_BYTES", 1)
    monkeypatch.setattr(engine, "FEWEST_TOKENS", 1)
    tiled, _ = swept(model, table, inputs, "ablate", 1.0)
    assert (tiled - plain).abs().max() <= 1e-6 * plain.abs().max()


def language_model(name):
    """A tiny model with a head of its own, and a batch of it."""
    import transformers as tf

    torch.manual_seed(0)
    shared = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": False}
    llama = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    if name == "gpt2":
        model = tf.GPT2LMHeadModel(tf.GPT2Config(**shared, n_embd=24, n_layer=3, n_head=4))
    else:
        model = tf.LlamaForCausalLM(tf.LlamaConfig(**shared, **llama, num_key_value_heads=2))
    return model.eval(), zoo.ids(3, 7)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("tile", [1, 1 << 20])
def test_only_tokens_that_the_head_reads_are_worked_on_in_the_last_block(monkeypatch, name, tile):
    from agentkit_attention import sweep as engine

    monkeypatch.setattr(engine, "TILE_BYTES", tile)
    monkeypatch.setattr(engine, "FEWEST_TOKENS", 1)
    model, inputs = language_model(name)
    inputs = {**inputs, "logits_to_keep": 2}
    table = find_sites(model, lambda: model(**inputs))
    mlp, seen = model.get_submodule(table.sites[-1].block).mlp, []
    first = next(m for m in mlp.modules() if not list(m.children()))
    plain, _ = swept(model, table, inputs, "identity", 0.5, engine="loop")
    with first.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1])):
        shared, trace = swept(model, table, inputs, "identity", 0.5, engine="spawn")
    assert set(seen[2:]) == {2}  # after the two untouched passes
    assert trace.engine == {"spawn": 1}
    assert (shared - plain).abs().max() <= 1e-6 * plain.abs().max()
    assert not any("forward" in m.__dict__ for m in model.modules())


def test_projections_into_the_attention_of_equal_copies_are_computed_once():
    model, inputs = zoo.tiny("llama")
    table, rows = find_sites(model, lambda: model(**inputs)), []
    project = model.layers[0].self_attn.q_proj
    with project.register_forward_hook(lambda _m, _a, out: rows.append(len(out))):
        inner = project.forward
        worked = []
        project.forward = lambda x: worked.append(len(x)) or inner(x)
        swept(model, table, inputs, "ablate", 1.0, engine="spawn")
    batch = worked[0]
    assert rows[-1] == batch * (1 + 4)  # the untouched rows and a copy for each of four heads
    assert worked[-1] == 2 * batch


def test_a_collector_that_reads_what_was_left_out_is_found_out_and_served_by_the_loop():
    model, inputs = language_model("gpt2")
    inputs = {**inputs, "logits_to_keep": 1, "output_hidden_states": True}
    table = find_sites(model, lambda: model(**inputs))
    conditions = [Condition(h.name, (h,), "ablate", 1.0) for h in table.heads]
    sweep = HeadSweep(model, table)
    values = sweep.run(inputs, 3, conditions, lambda out, rows: out.hidden_states[-1])
    assert sweep.trace.engine == {"loop": 1}
    assert "untouched rows moved" in next(iter(sweep.trace.reasons))
    assert (values[0] - model(**inputs).hidden_states[-1]).abs().max() == 0
