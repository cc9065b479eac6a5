"""Bad input, row by row, through the tools: a typed error that names the thing, the place and the next step."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from agentkit.errors import ParamError, TargetError
from agentkit_attention import models
from agentkit_attention.errors import (
    BadLabelsError,
    BadObjectiveError,
    BadSearchError,
    JudgeNotIndependentError,
    MemoryBudgetError,
    NoJointStreamError,
    NotSelfAttentionError,
    ProbeTooWeakError,
    SiteNotHitError,
    UnknownSiteError,
    UnsupportedAttentionError,
)
from agentkit_attention.guide import Guide, guide
from agentkit_attention.headhunter import HeadHunter
from agentkit_attention.hunt import HuntHeads, hunt
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from agentkit_attention.probe_run import run_edit
from agentkit_attention.probe_tools import ProbeEdit, probe_edit, probe_layers
from agentkit_attention.targets import digits_dit
from tests.attention import zoo
from tests.attention.conftest import AddressBook, BenchContext


@pytest.fixture(autouse=True)
def _quiet_upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # transformers and diffusers, about themselves
        warnings.simplefilter("ignore", FutureWarning)
        yield


class Letters:
    """A tiny model that reads letters."""

    device = "cpu"

    def __init__(self, model, **more):
        self.model, self.more = model, more

    def inputs(self, texts):
        ids = [[5 + ord(c) % 50 for c in t[:12]] for t in texts]
        width = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        keep = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        return {"input_ids": tokens, "attention_mask": keep} | self.more


def perturb(target, units, **params):
    ctx = BenchContext({"it:": target, "addresses:": AddressBook()})
    return perturb_heads(PerturbHeads(target="it:", **params), units[:1], ctx)


def bert():
    return zoo.text_model("bert")[0]


@pytest.mark.parametrize(
    ("sites", "near"),
    [("X*", r"L2\.H3"), ("L1.H4", r"L1\.H"), ("L3.H0", r"L[012]\.H0"), ("*.9/h0", r"L2\.H3")],
)
def test_a_pattern_a_head_or_a_layer_that_is_not_there(units, sites, near):
    with pytest.raises(UnknownSiteError, match=rf"{near}.*attention\.sites"):
        perturb(Letters(bert()), units, sites=sites)


class Forgetful(nn.Module):
    """Skips its second layer as soon as a text is short: found by the example, never called by the unit."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.runs = 0

    def forward(self, **inputs):
        self.runs += 1
        if inputs["input_ids"].shape[0] > 1:
            self.inner.encoder.layer[1].forward = lambda hidden_states, *_, **__: hidden_states
        return self.inner(**inputs)


def test_a_head_that_was_found_but_is_never_called(units):
    with pytest.raises(SiteNotHitError, match=r"inner\.encoder\.layer\.1.*interface.*0 of 1 requested"):
        perturb(Letters(Forgetful(bert())), units, sites="L1.H0")


def test_identity_between_sequences_of_different_length(units):
    model, inputs = zoo.diffusion_model("pixart")

    class Drawer(zoo.Wrapped):
        def latents(self, generator, n):
            return torch.randn(n, *self.inputs["hidden_states"].shape[1:], generator=generator)

        def times(self, steps):
            return torch.linspace(1, 0, steps + 1).tolist()

        def velocity(self, x, now, labels):
            copies = len(x) // len(self.inputs["hidden_states"])  # guided and plain rows side by side
            more = {
                n: v.repeat(copies, *(1,) * (v.dim() - 1)) for n, v in self.inputs.items() if n[0] in "et"
            }
            return self.model(**self.inputs | more | {"hidden_states": x}).sample

        def images(self, x):
            return x[:, :1].clamp(0, 1)

    ctx = BenchContext({"it:": Drawer(model, inputs), "py:a": Bright(), "py:b": Bright()})
    params = {"target": "it:", "objective": "py:a", "judge": "py:b", "features": None, "n": 2, "steps": 1}
    with pytest.raises(NotSelfAttentionError, match=r"attn2: .*16 queries meet 5 keys.*choose uniform"):
        guide(Guide(**params, sets={"cross": ("*.0.attn2/h0",)}), units[:1], ctx)


class Bright:
    """An objective with a range."""

    low, high = 0.0, 1.0

    def score(self, images, labels):
        return images.flatten(1).mean(1)


class Broken(Bright):
    def score(self, images, labels):
        return images.flatten(1).mean(1) * torch.tensor([1.0, torch.nan, *[1.0] * (len(images) - 2)])


@pytest.mark.parametrize("technique", ["identity", "temperature", "uniform"])
def test_a_technique_that_attention_written_by_hand_cannot_take(units, technique):
    model, _ = zoo.text_model("gptj")
    with pytest.raises(UnsupportedAttentionError, match=r"L0\.H1: .*by hand.*Choose ablate"):
        perturb(Letters(model), units, sites="L0.H1", technique=technique)


def test_torchs_attention_that_computes_its_map_by_hand(units):
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(24, 4, batch_first=True)

        def forward(self, input_ids, attention_mask):
            x = nn.functional.one_hot(input_ids % 24, 24).float()
            return {"out": self.attention(x, x, x, need_weights=True)[0]}

    with pytest.raises(UnsupportedAttentionError, match=r"^attention: .*call it with need_weights=False"):
        perturb(Letters(Old()), units)


def test_a_compiled_target(units):
    with pytest.raises(UnsupportedAttentionError, match=r"torch\.compile.*pass the model itself"):
        perturb(Letters(torch.compile(bert())), units)


def test_attention_inside_a_flash_kernel_keeps_its_map(units, monkeypatch):
    from agentkit_attention import intercept

    monkeypatch.setattr(intercept, "_opaque", lambda implementation, kwargs: "the flash kernel's own mask")
    with pytest.raises(UnsupportedAttentionError, match="flash kernel's own mask; choose a technique that"):
        perturb(Letters(bert()), units, technique="temperature", sites="L0.H0")


@pytest.mark.parametrize("technique", ["joint_identity", "ii_renorm", "block_zero_it"])
def test_a_joint_technique_on_a_stream_without_text(units, technique):
    target = digits_dit.load("", "cpu")
    ctx = BenchContext({"digits-dit:": target, "digits:cnn": Bright(), "digits-judge:": Bright()})
    params = Guide(sets={"a": ("L1.H0",)}, technique=technique, n=2, steps=1, features=None)
    with pytest.raises(NoJointStreamError, match="no text rows.*use identity"):
        guide(params, units[:1], ctx)


def test_a_judge_that_is_the_objective():
    with pytest.raises(ParamError, match="judge and objective are both 'digits:cnn'"):
        guide.parse({"sets": {"a": ["L1.H0"]}, "judge": "digits:cnn"})

    class Lab:
        class plugins:
            @staticmethod
            def fingerprints(uris):
                return dict.fromkeys(uris, "same file")

    with pytest.raises(JudgeNotIndependentError, match=r"'py:copy' is the objective 'digits:cnn'"):
        HeadHunter(Lab(), ["L0.H0", "L0.H1"], 1, judge="py:copy")


def test_a_score_that_is_no_number(units):
    target = digits_dit.load("", "cpu")
    ctx = BenchContext({"digits-dit:": target, "digits:cnn": Broken(), "digits-judge:": Bright()})
    with pytest.raises(BadObjectiveError, match="digits:cnn gave nan for image 1; its range is 0 to 1"):
        guide(Guide(sets={"a": ("L1.H0",)}, n=3, steps=1, features=None), units[:1], ctx)


def test_a_search_for_more_heads_than_there_are(units):
    target = digits_dit.load("", "cpu")
    ctx = BenchContext({"digits-dit:": target, "digits:cnn": Bright(), "digits-judge:": Bright()})
    with pytest.raises(BadSearchError, match=r"k 7: 'L1\.\*' names 6 heads of digits-dit:"):
        hunt(HuntHeads(k=7, sites="L1.*", n=2, steps=1, search_n=2, features=None), units[:1], ctx)
    with pytest.raises(BadSearchError, match="random_k 40: the target has 36 heads"):
        guide(Guide(random_k=40, n=2, steps=1, features=None), units[:1], ctx)


@pytest.mark.parametrize(
    ("tool", "params", "named"),
    [
        (guide, {"sets": {"a": ["L1.H0"]}, "u": 1.5}, "u of identity must be between 0 and 1, not 1.5"),
        (perturb_heads, {"technique": "temperature", "strength": 0.0}, "tau of temperature.*not 0"),
        (perturb_heads, {"technique": "noise", "strength": -1.0}, "sigma of noise.*not -1"),
        (probe_edit, {"p_star": 0.3}, "p_star"),
        (perturb_heads, {"technique": "ablation"}, "'ablation' is none of ablate"),
    ],
)
def test_numbers_outside_their_range_are_named_with_it(tool, params, named):
    with pytest.raises(ParamError, match=named):
        tool.parse(params)


class Three:
    """Texts of three kinds; `rare` leaves one kind a single text."""

    def __init__(self, rare=False, single=False):
        kinds = ["a"] * 120 if single else [("abc"[i % 3] if not rare or i else "z") for i in range(120)]
        rng = np.random.default_rng(0)
        self.labels = tuple(kinds)
        self.texts = tuple(f"{k}{k} {rng.integers(900)} {k}" for k in kinds)


@pytest.mark.parametrize(
    ("data", "named"), [(Three(single=True), "class 'a'"), (Three(rare=True), "class 'z' has")]
)
def test_labels_of_one_class_or_of_too_rare_a_class(units, minilm, data, named):
    ctx = BenchContext({"minilm:": minilm, "addresses:": data})
    with pytest.raises(BadLabelsError, match=f"{named}.*raise n or choose other labels"):
        probe_layers(probe_layers.parse({"labels": None, "n": 40, "layers": "L0"}), units[:1], ctx)


def test_a_probe_that_is_too_weak_or_a_probability_that_nobody_reaches(units, minilm):
    ctx = BenchContext({"minilm:": minilm, "addresses:": Three()})
    params = ProbeEdit(labels=None, label="b", layers="L0", n=60)
    with pytest.raises(ProbeTooWeakError, match=r"min_acc 1 .*L0 0\.\d+.*lower min_acc"):
        run_edit(params.model_copy(update={"min_acc": 1.0, "C": 1e-4}), units[:1], ctx)
    with pytest.raises(ProbeTooWeakError, match=r"L0: none of 1\d texts .*'b'.*0\.99 in 1 steps"):
        run_edit(params.model_copy(update={"p_star": 0.99, "max_iter": 1, "min_acc": 0.5}), units[:1], ctx)


def test_a_sweep_that_does_not_fit_the_memory(units):
    with pytest.raises(MemoryBudgetError, match=r"memory_mb=64 .*\d+ MiB are needed, or at most \d+ items"):
        perturb(
            Letters(zoo.text_model("bert", hidden_size=1024)[0]), units, memory_mb=64, candidates=60, n=20
        )


def test_a_mask_of_the_wrong_shape(units):
    wrong = Letters(bert(), attention_mask=torch.ones(3, 4, dtype=torch.long))
    models.describe(Letters(wrong.model))  # its heads are known; the unit brings the wrong mask
    with pytest.raises(
        TargetError, match=r"it:: its attention_mask \[3, 4\] does not fit its input_ids \[8, 12\]"
    ):
        perturb(wrong, units)


def test_weights_on_several_devices_or_none(units):
    model = bert()
    model.encoder.layer[1].to("meta")
    with pytest.raises(TargetError, match=r"encoder\.layer\.1\.\S+ holds no numbers .*load its weights"):
        perturb(Letters(model), units)

    class Split(nn.Module):
        def named_parameters(self, *args, **kwargs):  # two devices without owning two
            for name, device in (("first", "cpu"), ("second", "cuda:1")):
                yield name, type("Weight", (), {"device": torch.device(device)})

    with pytest.raises(TargetError, match=r"second on cuda:1, first on cpu; move it whole"):
        models.require_one_device(Split())
