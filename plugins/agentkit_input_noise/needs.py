"""What a tool needs of the objects behind its URIs, looked at before anything is asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agentkit.errors import TargetError

if TYPE_CHECKING:
    from agentkit import Context


class Need(NamedTuple):
    """A kind of target or data set: what it is called, the names it has, and URIs that give one."""

    what: str
    names: tuple[str, ...]
    examples: str


ENCODER = Need("a text encoder", ("encode",), "minilm:")
TAGGER = Need("a tagger of words", ("predict",), "tagger:ngram")
TEXTS = Need("a data set of texts", ("texts", "draw", "candidates"), "addresses: or intents:")
TAGGED = Need("labelled words", ("tokens", "tags", "outside", "draw"), "addresses: or intents:")
CLASSIFIER = Need("a classifier of images", ("__call__",), "digits:cnn or effnet-lite0:")
IMAGES = Need("a data set of images", ("images", "labels", "draw"), "digits: or photos:")
SCORE = Need("a noise predictor, a torch module", ("__call__", "parameters"), "digits:score")
RECOGNISER = Need("a speech recogniser", ("transcribe",), "whisper:tiny.en or pocketsphinx:")
SPEECH = Need("recorded speech", ("waves", "texts", "names", "rate", "test"), "speech:")
POLICIES = Need("policies", ("environment", "policy", "scale", "steps"), "cartpole:linear")
LINKER = Need("a link predictor", ("score",), "linker:propagation")
GRAPH = Need("a bipartite graph", ("edges", "shape", "left_types", "right_types"), "graph:blocks")


def fetch(ctx: Context, uri: str, need: Need) -> Any:
    """The object behind a URI.

    Raises:
        TargetError: it lacks one of the names that this kind has.
    """
    found = ctx.target(uri)
    lacking = [name for name in need.names if not hasattr(found, name)]
    if lacking:
        raise TargetError(
            f"{uri} is not {need.what} (its {type(found).__name__} has no {lacking[0]!r}); "
            f"name one, for example {need.examples}"
        )
    return found
