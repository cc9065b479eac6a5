"""A tiny random encoder, a small tagging task, and a context that keeps what a tool stores."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentkit import BASELINE, TargetLoader, Unit

LETTERS = "abcdefghij"
TAGS = ("first", "vowel", "consonant")


@dataclass(frozen=True)
class TinyEncoder:
    """What a text-encoder target offers: a Hugging Face model and a tokenizer."""

    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class TinyData:
    """What a labelled-words target offers."""

    texts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]
    train: tuple[int, ...]
    test: tuple[int, ...]


def tiny_encoder(dtype: torch.dtype = torch.float32, device: str = "cpu") -> TinyEncoder:
    """A BERT of 3 blocks, width 16, over single letters; seeded."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    vocabulary = {t: i for i, t in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS))}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary | {f"##{c}": 15 + i for i, c in enumerate(LETTERS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=25,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            initializer_range=0.2,
        )
        model = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False).to(device, dtype)
    return TinyEncoder(model, tokenizer)


@cache
def tiny_data(n: int = 48) -> TinyData:
    """Strings of 2 to 5 short words; the tag says first, or starts with a vowel or not."""
    draw = random.Random(5)
    words = [
        tuple("".join(draw.choices(LETTERS, k=draw.randint(1, 3))) for _ in range(draw.randint(2, 5)))
        for _ in range(n)
    ]
    tags = [
        tuple("first" if i == 0 else "vowel" if w[0] in "aei" else "consonant" for i, w in enumerate(row))
        for row in words
    ]
    cut = n * 3 // 4
    return TinyData(
        tuple(" ".join(w) for w in words), tuple(words), tuple(tags), tuple(range(cut)), tuple(range(cut, n))
    )


@dataclass
class FakeContext:
    """The `agentkit.Context` of a test: targets by URI, artifacts in a dict."""

    targets: dict[str, Any]
    workdir: Path = Path()
    asked: frozenset[str] | None = None
    device: str = "cpu"
    cancelled: bool = False
    batch: int | None = None
    artifacts: dict[str, Any] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)

    @property
    def conditions(self) -> frozenset[str] | None:
        return self.asked

    def target(self, uri: str) -> Any:
        return self.targets[uri]

    def progress(self, done: int, total: int) -> None:
        assert 0 <= done <= total

    def artifact(self, name: str, value: Any) -> str:
        self.artifacts[name] = value
        content = as_bytes(name, value)
        sha256 = hashlib.sha256(content).hexdigest()
        self.stored[sha256] = content
        return sha256

    def read_artifact(self, sha256: str) -> bytes:
        return self.stored[sha256]

    def wants(self, condition: str) -> bool:
        return condition == BASELINE or self.asked is None or condition in self.asked


def as_bytes(name: str, value: Any) -> bytes:
    """The file a worker would write."""
    if name.endswith(".npz"):
        stream = io.BytesIO()
        np.savez(stream, **value)
        return stream.getvalue()
    if name.endswith(".safetensors"):
        from safetensors.torch import save

        return save({n: t.contiguous() for n, t in value.items()})
    return repr(value).encode()


def units(n: int = 2) -> list[Unit]:
    return [Unit(index=i, seed=1000 + i) for i in range(n)]


def weights_sha256(model: torch.nn.Module) -> str:
    """Hash of every tensor of a model, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


TINY = TargetLoader("tiny", lambda rest, device: tiny_encoder(), lambda rest: "tiny")
LETTERS_DATA = TargetLoader("letters", lambda rest, device: tiny_data(), lambda rest: "letters")
