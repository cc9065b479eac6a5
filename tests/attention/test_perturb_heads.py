import numpy as np
import pytest
import torch

from agentkit.errors import ParamError
from agentkit_attention.errors import MemoryBudgetError, SiteNotHitError, UnknownSiteError
from agentkit_attention.minilm import key_mask, pooled
from agentkit_attention.models import describe
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from agentkit_attention.perturb_heads_run import conditions_of
from agentkit_attention.questions import linkage_scores
from agentkit_attention.sweep import HeadSweep
from agentkit_attention.technique_table import TECHNIQUES, TEXT_TECHNIQUES
from tests.attention.naive import bert_ablated, hook_count, weights_sha256

HEAD_TECHNIQUES = [t for t in TEXT_TECHNIQUES if t != "skip_layer"]
TEXTS = ["17 Oak Street, Salem OR", "9 Mill Rd", "401 Harbor Way apt 3, Boise Idaho 83702"]


@pytest.fixture(scope="module")
def swept(minilm):
    """Ablation of all 72 heads of three texts in one pass, hidden states [73, 3, tokens, 384]."""
    inputs = minilm.inputs(TEXTS)
    before, hooks = weights_sha256(minilm.model), hook_count(minilm.model)
    sweep = HeadSweep(minilm.model, describe(minilm).table)
    conditions = conditions_of(PerturbHeads(), sweep.table)
    hidden = sweep.run(inputs, 3, conditions, lambda out, rows: out.last_hidden_state, engine="spawn")
    return inputs, conditions, hidden, (before, hooks)


def test_one_pass_over_all_heads_equals_one_forward_per_head(minilm, swept):
    inputs, conditions, hidden, _ = swept
    assert len(conditions) == 72
    for i, condition in enumerate(conditions):
        layer, head = divmod(i, 12)
        assert condition.name == f"L{layer}.H{head}"
        naive = bert_ablated(minilm.model, inputs, layer, head)
        assert (hidden[1 + i] - naive).abs().max() <= 1e-6 * naive.abs().max()


def test_the_target_is_untouched_afterwards(minilm, swept):
    inputs, _, hidden, (sha256, hooks) = swept
    assert weights_sha256(minilm.model) == sha256
    assert hook_count(minilm.model) == hooks
    with torch.no_grad():
        assert torch.equal(minilm.model(**inputs).last_hidden_state, hidden[0])


def test_a_shared_pass_and_the_plain_loop_agree_for_every_technique(minilm, units, ctx):
    for technique in HEAD_TECHNIQUES:
        params = PerturbHeads(sites="L1.H3, L4.H0-3, L5.*", technique=technique, n=2, candidates=3)
        table = perturb_heads(params, units[:1], ctx)
        assert ctx.artifacts["trace.json"]["engine"] == {"spawn": 1}, technique
        alone = perturb_heads(params.model_copy(update={"sites": "L4.H2"}), units[:1], ctx)
        assert ctx.artifacts["trace.json"]["engine"] == {"loop": 1}, technique
        for metric in table.metrics:
            np.testing.assert_allclose(
                table.column(metric, "L4.H2"), alone.column(metric, "L4.H2"), atol=1e-6, err_msg=technique
            )


def test_strength_zero_is_the_baseline_bit_for_bit(units, ctx):
    for technique in HEAD_TECHNIQUES:
        zero = TECHNIQUES[technique].untouched
        params = PerturbHeads(sites="L3.H2", technique=technique, strength=zero, n=2, candidates=3)
        table = perturb_heads(params, units[:1], ctx)
        for metric in table.metrics:
            assert table.column(metric, "L3.H2") == table.column(metric, "baseline")


def test_units_do_not_depend_on_their_company_or_order(units, ctx):
    params = PerturbHeads(sites="L5.H*", n=2, candidates=4)
    together = perturb_heads(params, units, ctx)
    for unit in reversed(units):
        assert list(perturb_heads(params, [unit], ctx).rows()) == list(together.select([unit.index]).rows())


def test_only_the_asked_conditions_are_measured(units, make_context):
    table = perturb_heads(PerturbHeads(n=2, candidates=3), units[:1], make_context("L3.H2"))
    assert table.conditions == ("baseline", "L3.H2")


def test_metrics_stay_in_their_ranges_and_ablation_moves_the_embedding(units, ctx):
    table = perturb_heads(PerturbHeads(sites="L5.*", group="layer"), units, ctx)
    assert table.conditions == ("baseline", "L5")
    assert table.metrics == ("recall_at_1", "margin", "cosine")
    for metric in map(perturb_heads.metric, table.metrics):
        assert all(metric.contains(v) for v in table.array(metric.name).ravel())
    assert (table.column("cosine", "baseline") == 1).all()
    assert (table.column("cosine", "L5") < 0.99).all()


def test_several_strengths_make_a_curve_and_larger_ones_move_more(units, ctx):
    params = PerturbHeads(sites="L5.*", group="set", technique="noise", strength=(0, 0.5, 2))
    table = perturb_heads(params, units, ctx)
    assert table.conditions == ("baseline", "set:noise@0", "set:noise@0.5", "set:noise@2")
    mean = table.array("cosine").mean(0)
    assert mean[0] == mean[1] == 1 > mean[2] > mean[3]


def test_a_small_memory_budget_splits_the_sweep_and_changes_no_value(minilm, swept):
    inputs, conditions, hidden, _ = swept
    keep = key_mask(inputs)
    sweep = HeadSweep(minilm.model, describe(minilm).table, memory_mb=16)
    small = sweep.run(inputs, 3, conditions, lambda out, rows: pooled(out.last_hidden_state, keep[rows]))
    assert sweep.trace.engine["spawn"] > 1
    assert (small - torch.stack([pooled(h, keep) for h in hidden])).abs().max() <= 1e-6


def test_a_budget_too_small_for_one_condition_says_what_is_needed(minilm, swept):
    inputs, conditions, _, _ = swept
    sweep = HeadSweep(minilm.model, describe(minilm).table, memory_mb=1)
    with pytest.raises(MemoryBudgetError, match="MiB are needed"):
        sweep.run(inputs, 3, conditions, lambda out, rows: out.last_hidden_state)


def test_linkage_scores_of_a_hand_made_case():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    embeddings = torch.stack([torch.cat([queries, candidates])] * 2).double()
    scores = linkage_scores(embeddings, 2, torch.tensor([0, 2]))
    assert scores["recall_at_1"].tolist() == [0.5, 0.5]
    assert scores["margin"][0] == pytest.approx(((1 - 0.6) / 2 + (-1 - 0.8) / 2) / 2)
    assert scores["cosine"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sites", ["L9.H2", "L3.H12", "nonsense", "encoder.layer.7/h0"])
def test_an_unknown_head_is_named_with_near_names(units, ctx, sites):
    with pytest.raises(UnknownSiteError, match=r"no head matches.*attention\.sites"):
        perturb_heads(PerturbHeads(sites=sites), units[:1], ctx)


def test_canonical_names_ranges_and_lists_pick_the_same_heads(minilm):
    table = describe(minilm).table
    names = [h.name for h in table.select("L3.H0-2, L4.H11")]
    assert names == ["L3.H0", "L3.H1", "L3.H2", "L4.H11"]
    assert [h.name for h in table.select("encoder.layer.3/h0-2 encoder.layer.4/h11")] == names
    assert [h.canonical for h in table.select("*.3/h2")] == ["encoder.layer.3/h2"]
    assert [h.name for h in table.select("L-1.H2, L-6.H0")] == ["L0.H0", "L5.H2"]


def test_a_head_that_is_never_computed_raises(minilm):
    table = describe(minilm).table
    conditions = conditions_of(PerturbHeads(sites="L3.H2"), table)
    inputs = minilm.inputs(TEXTS)

    class DeadBranch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = minilm.model.encoder

        def forward(self, **inputs):
            return minilm.model.embeddings(inputs["input_ids"])

    with pytest.raises(SiteNotHitError, match=r"encoder\.layer\.3"):
        HeadSweep(DeadBranch(), table).run(inputs, 3, conditions, lambda out, rows: out)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("technique", "ablation"),
        ("strength", 1.5),
        ("strength", ()),
        ("n", 0),
        ("typo_rate", 2),
        ("site", "L1.H1"),
    ],
)
def test_params_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ParamError, match=field if field != "strength" else "strength|u of ablate"):
        perturb_heads.parse({field: value})


def test_hooks_are_gone_after_an_exception_inside_the_forward(minilm, swept):
    inputs, conditions, _, (sha256, hooks) = swept
    sweep = HeadSweep(minilm.model, describe(minilm).table)
    fused = torch.nn.functional.scaled_dot_product_attention

    def fail(out, rows):
        if rows.numel() > 3:
            raise KeyError("collect")
        return out.last_hidden_state

    with pytest.raises(KeyError):
        sweep.run(inputs, 3, conditions, fail)
    with pytest.raises(ZeroDivisionError):
        minilm.model.encoder.layer[4].register_forward_hook(lambda *_: 1 / 0)
        try:
            sweep.run(inputs, 3, conditions[:1], lambda out, rows: out.last_hidden_state)
        finally:
            minilm.model.encoder.layer[4]._forward_hooks.clear()
    assert hook_count(minilm.model) == hooks
    assert weights_sha256(minilm.model) == sha256
    assert torch.nn.functional.scaled_dot_product_attention is fused
    assert torch.backends.mha.get_fastpath_enabled()
