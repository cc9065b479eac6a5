"""Objects of the wrong kind behind a URI, and data that do not fit together, are refused by name."""

from types import SimpleNamespace

import pytest
import torch

from agentkit.errors import ParamError, TargetError
from agentkit_input_noise import classify, words
from agentkit_input_noise.asr_tool import noise_asr
from agentkit_input_noise.attack_tool import noise_attack
from agentkit_input_noise.bounds_tool import noise_bounds
from agentkit_input_noise.certify_tool import noise_certify
from agentkit_input_noise.detect_tool import noise_detect
from agentkit_input_noise.embeddings import require_unicode
from agentkit_input_noise.errors import LabelMismatchError
from agentkit_input_noise.graph_tool import noise_graph
from agentkit_input_noise.image_tool import noise_image
from agentkit_input_noise.pii_tool import noise_pii
from agentkit_input_noise.purify_tool import noise_purify
from agentkit_input_noise.rl_tool import noise_rl
from agentkit_input_noise.slots_tool import noise_slots
from agentkit_input_noise.text_tool import noise_text

TOOLS = [
    noise_text, noise_slots, noise_image, noise_certify, noise_attack, noise_purify, noise_bounds, noise_detect,
    noise_rl, noise_asr, noise_graph, noise_pii,
]  # fmt: skip


class Anything(dict):
    """Gives the same stranger for every URI."""

    def __missing__(self, uri):
        return object()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_target_of_another_kind_is_refused_with_an_example(make_context, units, tool):
    with pytest.raises(
        TargetError, match=r"is not .* \(its object has no '\w+'\); name one, for example \w+:"
    ):
        tool(tool.parse({}), units[:1], make_context(Anything()))


def test_words_and_labels_of_different_numbers_name_the_item():
    data = SimpleNamespace(tokens=(("a",), ("b", "c")), tags=(("X",), ("X",)))
    with pytest.raises(LabelMismatchError, match="item 1 has 2 words and 1 labels"):
        words.labelled(data, [0, 1])


def test_bytes_are_no_text():
    with pytest.raises(ParamError, match=r"b'caf\\xc3\\xa9' is no text but bytes"):
        require_unicode(["x", b"caf\xc3\xa9"])


@pytest.mark.parametrize(
    ("images", "items", "message"),
    [
        (torch.rand(3, 1, 8, 8).numpy(), [0], "give a torch tensor"),
        (torch.rand(3, 1, 8, 8), [], "no image was drawn"),
        (torch.rand(3, 64), [0], r"\(items, channels, height, width\) was expected"),
        (255 * torch.ones(3, 1, 8, 8, dtype=torch.uint8), [1], "item 1 has pixels outside"),
    ],
)
def test_images_of_another_shape_or_range_are_refused(images, items, message):
    with pytest.raises(ParamError, match=message):
        classify.pool(SimpleNamespace(images=images, labels=None), items)
