"""The target `tagger:ngram`, trained on the addresses' train split on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import agentkit
from agentkit.errors import TargetError, unknown

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = ("ngram",)


def _file(rest: str) -> Path:
    if rest not in KNOWN:
        raise TargetError(unknown("tagger", f"tagger:{rest}", [f"tagger:{k}" for k in KNOWN]))
    import numpy as np

    from agentkit_input_noise import tagger, trained
    from agentkit_input_noise.addresses import addresses

    data = addresses.load("", "cpu")
    recipe = {"model": "tagger:ngram 1", "addresses": data.sha256, "numpy": np.__version__}
    return trained.model_file("tagger-ngram", recipe, lambda: {**tagger.train(data)})


def fingerprint(rest: str) -> str:
    """Hash of the trained weights' file; trains them (4 s) when they are not there yet."""
    from agentkit_input_noise import trained

    return trained.file_sha256(_file(rest))


@agentkit.target("tagger", fingerprint=fingerprint)
def tagger(rest: str, device: str) -> Any:
    """Sequence labeller for US addresses, 29 tags: hashed n-grams and a linear softmax, trained on first use."""
    import numpy as np

    from agentkit_input_noise import trained
    from agentkit_input_noise.addresses import addresses
    from agentkit_input_noise.tagger import NgramTagger, tag_names

    weights = trained.read(_file(rest))["weights"]
    return NgramTagger(np.asarray(weights, dtype=np.float32), tag_names(addresses.load("", "cpu")))
