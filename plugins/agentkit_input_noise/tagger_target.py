"""The targets `tagger:ngram` (trained on the addresses on first use) and `tagger:sha256:HEX` (an adapter of a run)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import agentkit
from agentkit.errors import TargetError, unknown

if TYPE_CHECKING:
    from pathlib import Path

NGRAM = "ngram"
STORED = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter among the artifacts of a store; a tool reads it through its worker (`adapter_tagger.opened`)."""

    sha256: str


def _file() -> Path:
    import numpy as np

    from agentkit_input_noise import tagger, trained
    from agentkit_input_noise.addresses import addresses

    data = addresses.load("", "cpu")
    recipe = {"model": "tagger:ngram 1", "addresses": data.sha256, "numpy": np.__version__}
    return trained.model_file("tagger-ngram", recipe, lambda: {**tagger.train(data)})


def fingerprint(rest: str) -> str:
    """Hash of the weights' file; trains those of `tagger:ngram` (4 s) when they are not there yet."""
    from agentkit_input_noise import trained

    if stored := STORED.fullmatch(rest):
        return stored[1]
    if rest != NGRAM:
        hint = "tagger:sha256:HEX, an adapter that weight.finetune stored, works too."
        raise TargetError(unknown("tagger", f"tagger:{rest}", [f"tagger:{NGRAM}"], hint=hint))
    return trained.file_sha256(_file())


@agentkit.target("tagger", fingerprint=fingerprint)
def tagger(rest: str, device: str) -> Any:
    """Labeller of US addresses, 29 tags: tagger:ngram, hashed n-grams; tagger:sha256:HEX, an adapter of weight.finetune."""
    import numpy as np

    from agentkit_input_noise import trained
    from agentkit_input_noise.addresses import addresses
    from agentkit_input_noise.tagger import NgramTagger, tag_names

    sha256 = fingerprint(rest)
    if rest != NGRAM:
        return StoredAdapter(sha256)
    weights = trained.read(_file())["weights"]
    return NgramTagger(np.asarray(weights, dtype=np.float32), tag_names(addresses.load("", "cpu")))
