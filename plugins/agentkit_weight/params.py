"""What the tools of this plugin can be asked: pydantic models only, nothing heavy is imported."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentkit import Params

Method = Literal["lora", "ggpo", "mgpo", "sam", "asam", "awp_lora", "zo", "head", "labels_shuffled"]
InputNoise = Literal["none", "token_mask", "neftune", "advstyle"]


class TaskParams(Params):
    """A tagging task: which model, which labelled words, which linear layers."""

    target: Annotated[str, Field(description="text encoder, for example minilm:")] = "minilm:"
    data: Annotated[str, Field(description="labelled word lists, for example addresses:")] = "addresses:"
    train_n: Annotated[int | None, Field(ge=2, description="training strings; all unless said")] = None
    test_n: Annotated[int | None, Field(ge=2, description="test strings; all unless said")] = None
    targets: Annotated[str, Field(description="regex searched in the names of linear layers")] = ".*"
    top_layers: Annotated[
        int | None, Field(ge=1, description="use only the last so many blocks; null = all")
    ] = 2


class LoraParams(TaskParams):
    """How an adapter and its head are trained."""

    epochs: Annotated[int, Field(ge=1, le=50)] = 5
    batch: Annotated[int, Field(ge=4, le=256, description="strings per step")] = 32
    lr: Annotated[float, Field(gt=0, le=1, description="peak of the one-cycle schedule, AdamW")] = 2e-3
    r: Annotated[int, Field(ge=1, le=256, description="rank of the adapter")] = 8
    alpha: Annotated[float | None, Field(gt=0, description="scale is alpha / r; 2 r unless said")] = None


class Ggpo(Params):
    """Gradient-guided noise on the adapted weight: row i has size sigma ||W_i|| + beta ||g_i||^2."""

    sigma: Annotated[float, Field(ge=0, le=0.2)] = 0.03
    beta: Annotated[float, Field(ge=0, le=0.1)] = 0.01
    noise_rank: Annotated[int, Field(ge=0, le=16, description="0 draws a dense normal matrix")] = 1


class Mgpo(Params):
    """A step along Adam's momentum: sign -1 looks ahead (published), +1 ascends like SAM."""

    rho: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    beta: Annotated[float, Field(ge=0, le=0.99)] = 0.9
    sign: Literal[-1, 1] = -1
    cap: Annotated[float, Field(ge=1, le=100)] = 10.0


class Sam(Params):
    """Sharpness-aware: the gradient at w + rho g / ||g||, applied at w. Two passes a step."""

    rho: Annotated[float, Field(ge=0, le=0.5)] = 0.05


class Asam(Params):
    """SAM with a radius per weight, |w| + eta. Two passes a step."""

    rho: Annotated[float, Field(ge=0, le=2)] = 0.5
    eta: Annotated[float, Field(gt=0, le=1)] = 0.01


class Awp(Params):
    """Weight perturbation gamma ||W||, along the adapter's ascent direction. Two passes a step."""

    gamma: Annotated[float, Field(ge=0, le=2e-2)] = 5e-3
    warm_up: Annotated[int, Field(ge=0, le=10, description="epochs without it")] = 0


class Zo(Params):
    """Zeroth-order training of the target matrices themselves: two forward passes a step, one byte a probe."""

    eps: Annotated[float, Field(ge=2**-14, le=2**-3, description="probe radius per entry")] = 2**-10
    noise: Annotated[
        Literal["rademacher_lowrank", "rademacher_dense", "gaussian_reference"],
        Field(description="gaussian_reference is the published in-place loop on a private copy: a yardstick"),
    ] = "rademacher_lowrank"
    rank: Annotated[int, Field(ge=1, le=16)] = 1
    probes: Annotated[int, Field(ge=1, le=64, description="probes per worker and step")] = 1
    workers: Annotated[int, Field(ge=1, le=64, description="workers that probe in each step")] = 1
    sides: Literal[1, 2] = 2
    estimator: Literal["spsa", "jvp"] = "spsa"
    objective: Annotated[
        str,
        Field(
            pattern=r"^(loss|accuracy|f1|py:.+)$",
            description="loss, accuracy, f1, or py:module:factory, which returns loss(logits, labels)",
        ),
    ] = "loss"
    steps: Annotated[int, Field(ge=0, le=100_000)] = 400
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3


class TokenMask(Params):
    """Each input token becomes [MASK] with probability p while training; labels stay."""

    p: Annotated[float, Field(ge=0, le=0.8)] = 0.4


class Neftune(Params):
    """Embeddings + U(-1, 1) alpha / sqrt(tokens * width) while training."""

    alpha: Annotated[float, Field(ge=0, le=15)] = 5.0


class AdvStyle(Params):
    """Channel means and spreads of the states that enter the trained layers, moved against the loss."""

    p: Annotated[float, Field(ge=0, le=1, description="share of the batches that are moved")] = 1 / 3


class SubjectParams(LoraParams):
    """Which trained model is looked at: a saved adapter, or plain LoRA trained on each unit."""

    adapter: Annotated[
        str | None,
        Field(
            description="sha256:HEX or path of a LoRA file; null trains plain LoRA on every unit; base = none"
        ),
    ] = None
    strings: Annotated[
        int, Field(ge=4, le=512, description="strings the loss is taken over, fresh per unit")
    ] = 64
