import numpy as np
import pytest

from agentkit.errors import ParamError
from agentkit_attention.errors import BadLabelsError, ProbeTooWeakError, UnknownSiteError
from agentkit_attention.probe_run import blocks_of, hidden_states
from agentkit_attention.probe_tools import ProbeEdit, ProbeLayers, probe_edit, probe_layers
from tests.attention.naive import hook_count, weights_sha256


class Tagged:
    """Short made-up addresses; some have an apartment."""

    def __init__(self):
        rng = np.random.default_rng(0)
        with_flat = [bool(i % 2) for i in range(120)]
        self.texts = tuple(f"{rng.integers(900)} Oak St{' apartment 4' if f else ''}" for f in with_flat)
        self.tags = tuple(("Number", "Street", *(["Flat"] if f else [])) for f in with_flat)


@pytest.fixture
def tctx(ctx):
    ctx.targets["addresses:"] = Tagged()
    return ctx


def test_a_probe_reads_the_label_and_finds_nothing_in_shuffled_ones(units, tctx):
    table = probe_layers(ProbeLayers(labels="Flat", layers="L1 L5", n=80), units, tctx)
    assert table.conditions == ("baseline", "L1", "shuffled:L1", "L5", "shuffled:L5")
    assert (table.column("accuracy", "L5") > 0.9).all()
    assert (table.column("v_info", "L5") > 0.2).all()
    assert table.column("v_info", "shuffled:L5").mean() < 0.05
    assert (table.column("v_info", "baseline") == 0).all()


def test_an_edit_reaches_the_wanted_probability_and_the_judge_follows(units, tctx, minilm):
    before = weights_sha256(minilm.model), hook_count(minilm.model)
    table = probe_edit(ProbeEdit(labels="Flat", layers="L3 L5", n=80, p_star=0.95), units[:2], tctx)
    assert (table.column("reached", "L5") == 1).all()
    assert (table.column("p_target", "L5") >= 0.95 - 1e-6).all()
    assert (table.column("judge", "L5") > table.column("judge", "baseline")).all()
    assert (table.column("relative_norm", "L3") > 0).all()
    assert (weights_sha256(minilm.model), hook_count(minilm.model)) == before


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_a_shift_moves_the_pooled_state_by_just_that_vector(minilm, pool):
    texts = ["one short text", "another somewhat longer text here"]
    block = blocks_of(minilm, "L2")["L2"]
    delta = np.random.default_rng(0).standard_normal((2, 384)) * 0.1
    plain = hidden_states(minilm, texts, [block], pool)[block]
    moved = hidden_states(minilm, texts, [block], pool, shift=(block, delta))[block]
    np.testing.assert_allclose(moved - plain, delta, atol=1e-6)


def test_a_weak_probe_is_refused_with_its_accuracies(units, tctx):
    with pytest.raises(ProbeTooWeakError, match=r"L0 0\.\d+"):
        probe_edit(ProbeEdit(labels="Flat", layers="L0", n=20, min_acc=1.0, C=1e-4), units, tctx)


def test_items_beyond_the_largest_displacement_stay_unedited(units, tctx):
    table = probe_edit(
        ProbeEdit(labels="Flat", layers="L5", n=80, p_star=0.99, max_norm=1e-4), units[:1], tctx
    )
    assert table.column("reached", "L5")[0] < 1
    assert table.column("relative_norm", "L5")[0] <= 1e-4


def test_a_rare_class_an_unknown_tag_and_an_unknown_layer_are_named(units, tctx):
    with pytest.raises(ParamError, match="Flat"):
        probe_layers(ProbeLayers(labels="Flats", n=40), units, tctx)
    with pytest.raises(UnknownSiteError, match="L0 to L5"):
        probe_layers(ProbeLayers(labels="Flat", layers="L9", n=40), units, tctx)
    with pytest.raises(BadLabelsError, match="raise n"):
        probe_layers(ProbeLayers(labels="Street", n=40), units, tctx)
    with pytest.raises(ParamError, match="'yes' and 'no'"):
        probe_edit.parse({"labels": "Flat", "label": "maybe"})
