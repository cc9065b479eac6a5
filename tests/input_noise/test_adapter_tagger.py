"""`tagger:sha256:HEX`: an adapter of a training run tags, alone as among others, and strangers are refused."""

import copy
from types import SimpleNamespace

import pytest
import torch

from agentkit.errors import TargetError
from agentkit_input_noise.adapter_tagger import AdapterTagger
from agentkit_input_noise.slots_tool import noise_slots
from agentkit_input_noise.tagger_target import StoredAdapter
from agentkit_input_noise.tagger_target import tagger as loader

pytest.importorskip("transformers", reason="needs transformers (extra `text`)")
TAGS = ("A", "B", "O")
SITE = "encoder.layer.0.attention.self.query"
SENTENCES = [["ab", "c"], ["cab"], [], ["a", "\u200b", "b"], ["c"] * 30]


@pytest.fixture(scope="module")
def encoder():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    vocabulary = {
        t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abc", *(f"##{c}" for c in "abc")])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=10, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=256, initializer_range=0.5,
        )  # fmt: skip
        model = BertModel(config, add_pooling_layer=False).eval()

    class Encoder:
        """Like SimpleNamespace, but others may hold it weakly."""

    found = Encoder()
    found.model, found.tokenizer = model, tokenizer
    return found


def adapter(classes=3, site=SITE, width=16):
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    return {
        f"base_model.model.{site}.lora_A.weight": draw(2, width),
        f"base_model.model.{site}.lora_B.weight": draw(16, 2),
        "head.weight": draw(classes, 16),
        "head.bias": draw(classes),
    }


def test_the_adapter_is_added_to_a_copy_and_the_first_token_of_a_word_is_asked(encoder):
    before = copy.deepcopy(encoder.model.state_dict())
    tensors = adapter()
    found = AdapterTagger(encoder, tensors, TAGS, "O").predict([["ab", "c"]])[0]
    changed = copy.deepcopy(encoder.model)
    with torch.no_grad():
        a, b = (tensors[f"base_model.model.{SITE}.lora_{x}.weight"] for x in "AB")
        changed.get_parameter(f"{SITE}.weight").add_(b @ a)
        ids = torch.tensor([[2, 4, 8, 6, 3]])  # [CLS] a ##b c [SEP]
        logits = changed(ids).last_hidden_state[0, [1, 3]] @ tensors["head.weight"].T + tensors["head.bias"]
    assert found == [TAGS[k] for k in logits.argmax(1).tolist()]
    assert all(torch.equal(value, before[name]) for name, value in encoder.model.state_dict().items())


def test_a_sentence_is_tagged_the_same_alone_and_among_others(encoder):
    tagger = AdapterTagger(encoder, adapter(), TAGS, "O")
    together = tagger.predict(SENTENCES)
    assert [tagger.predict([words])[0] for words in SENTENCES] == together
    assert [len(tags) for tags in together] == [len(words) for words in SENTENCES]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (adapter(classes=4), "head has 4 classes and the data 3 tags"),
        (adapter(site="encoder.layer.9.query"), "'encoder.layer.9.query' is not in minilm:"),
        (adapter(width=8), "is 16 x 8 and minilm:'s"),
        (
            {k: v for k, v in adapter().items() if not k.startswith("head")},
            "holds no head.weight and head.bias",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(encoder, tensors, message):
    with pytest.raises(TargetError, match=message):
        AdapterTagger(encoder, tensors, TAGS, "O")


def test_an_adapter_of_the_store_is_read_through_the_worker(make_context, encoder, units):
    from safetensors.torch import save

    data = SimpleNamespace(
        texts=("ab c", "c b"), tokens=(("ab", "c"), ("c", "b")), tags=(("A", "B"), ("B", "O")), outside="O",
        draw=lambda rng, n: (0, 1), candidates=None,
    )  # fmt: skip
    uri = f"tagger:sha256:{'0' * 64}"
    stored = loader.load(uri.removeprefix("tagger:"), "cpu")
    assert stored == StoredAdapter("0" * 64)
    assert loader.fingerprint(uri.removeprefix("tagger:")) == "0" * 64
    context = make_context({uri: stored, "minilm:": encoder, "addresses:": data})
    context.read_artifact = {"0" * 64: save(adapter())}.__getitem__
    params = noise_slots.parse({"target": uri, "kinds": ["verbose"], "items": 2})
    table = noise_slots(params, units[:1], context)
    assert table.column("token_accuracy", "verbose=1").shape == (1,)
