import numpy as np
import pytest
import torch

from agentkit.errors import TargetError
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from agentkit_attention.pictures import rank_stability
from agentkit_attention.questions import token_scores
from tests.attention.conftest import BenchContext


class TinyLanguageModel:
    """A random Llama with grouped keys that reads letters."""

    device = "cpu"

    def __init__(self):
        import transformers as tf

        torch.manual_seed(0)
        config = tf.LlamaConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=48, use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        self.model = tf.LlamaForCausalLM(config).eval().requires_grad_(False)

    def inputs(self, texts):
        ids = [[3 + ord(c) % 60 for c in t[:12]] for t in texts]
        width = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        keep = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        return {"input_ids": tokens, "attention_mask": keep}


class Texts:
    texts = ("one", "a longer text", "something else", "yet another one", "five", "six of them", "seven")


@pytest.fixture
def lctx():
    return BenchContext({"minilm:": TinyLanguageModel(), "addresses:": Texts()})


def test_next_token_scores_equal_a_pass_per_head_written_by_hand(units, lctx):
    params = PerturbHeads(objective="next_token", n=3)
    table = perturb_heads(params, units[:1], lctx)
    assert table.metrics == ("nll", "accuracy", "js")
    assert lctx.artifacts["trace.json"]["engine"] == {"spawn": 1}
    target = lctx.targets["minilm:"]
    chosen = units[0].rng("items").choice(7, 3, replace=False)
    inputs = target.inputs([Texts.texts[i] for i in chosen])
    keep = inputs["attention_mask"][:, 1:].bool()
    base = target.model(**inputs).logits[:, :-1].softmax(-1)
    for layer, head in ((0, 1), (2, 3)):
        projection = target.model.model.layers[layer].self_attn.o_proj

        def zero(module, args, head=head):
            x = args[0].clone()
            x[..., head * 8 : head * 8 + 8] = 0
            return (x,)

        handle = projection.register_forward_pre_hook(zero)
        p = target.model(**inputs).logits[:, :-1].softmax(-1)
        handle.remove()
        right = p.gather(2, inputs["input_ids"][:, 1:, None]).squeeze(2)
        nll = torch.stack([-right[i][keep[i]].log().mean() for i in range(3)]).mean()
        middle = (p + base) / 2
        js = 0.5 * ((p * (p / middle).log2()).sum(-1) + (base * (base / middle).log2()).sum(-1))
        js = torch.stack([js[i][keep[i]].mean() for i in range(3)]).mean()
        name = f"L{layer}.H{head}"
        assert table.column("nll", name)[0] == pytest.approx(float(nll), abs=1e-5)
        assert table.column("js", name)[0] == pytest.approx(float(js), abs=1e-5)
    assert table.column("js", "baseline").tolist() == [0]


def test_the_divergence_of_a_prediction_from_itself_is_exactly_zero_in_a_large_vocabulary():
    logits = 8 * torch.randn(2, 5, 40_000, generator=torch.Generator().manual_seed(0))
    tokens, keep = torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool)
    scores = token_scores(logits, logits.log_softmax(-1), tokens, keep)
    assert scores[:, 2].tolist() == [0, 0]


def test_an_encoder_has_no_next_token(units, ctx):
    ctx.targets["addresses:"] = Texts()
    with pytest.raises(TargetError, match="language-model head"):
        perturb_heads(PerturbHeads(objective="next_token", sites="L0.H0"), units[:1], ctx)


def test_a_sweep_leaves_a_heat_map_and_a_table(units, lctx):
    perturb_heads(PerturbHeads(objective="next_token", n=2), units, lctx)
    assert len(lctx.artifacts["heads.csv"]) == 12
    assert "rank stability" in lctx.artifacts["heads.svg"].axes[0].get_title()


def test_rank_stability_is_one_for_units_that_agree():
    effect = np.array([[1.0, 2, 3, 4], [1, 3, 4, 9]])
    assert rank_stability(effect) == pytest.approx(1)
    assert np.isnan(rank_stability(effect[:1]))
