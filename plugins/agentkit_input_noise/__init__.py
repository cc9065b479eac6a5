"""agentkit_input_noise: perturb what goes into a model, and measure how much it takes to break it."""

from __future__ import annotations

from collections.abc import Callable

from agentkit import TargetLoader, Tool, hookimpl


@hookimpl
def agentkit_register_tools(register: Callable[[Tool], None]) -> None:
    """Register the tools `noise.*`."""
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

    register(noise_text)
    register(noise_slots)
    register(noise_image)
    register(noise_certify)
    register(noise_attack)
    register(noise_purify)
    register(noise_bounds)
    register(noise_detect)
    register(noise_rl)
    register(noise_asr)
    register(noise_graph)
    register(noise_pii)


@hookimpl
def agentkit_register_targets(register: Callable[[TargetLoader], None]) -> None:
    """Register the data sets and models of this plugin."""
    from agentkit_input_noise.addresses import addresses
    from agentkit_input_noise.cartpole_target import cartpole
    from agentkit_input_noise.digits_target import digits
    from agentkit_input_noise.graph_target import graph, linker
    from agentkit_input_noise.intents_target import intents
    from agentkit_input_noise.photos_target import effnet_lite0, photos
    from agentkit_input_noise.speech_target import pocketsphinx, speech, whisper
    from agentkit_input_noise.tagger_target import tagger
    from agentkit_input_noise.variants_target import variants

    register(addresses)
    register(intents)
    register(tagger)
    register(digits)
    register(cartpole)
    register(photos)
    register(effnet_lite0)
    register(speech)
    register(whisper)
    register(pocketsphinx)
    register(graph)
    register(linker)
    register(variants)


@hookimpl
def agentkit_register_commands(register: Callable[..., None]) -> None:
    """Register `agentkit noise …`."""
    register(
        "noise",
        "agentkit_input_noise.commands:app",
        help="Curves of a noise run; texts rewritten by a chat model.",
    )
