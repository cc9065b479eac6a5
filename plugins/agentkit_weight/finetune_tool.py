"""`weight.finetune`: train an adapter, with the weights perturbed while it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

import agentkit
from agentkit import Context, Metric, Resources, Unit
from agentkit_weight.params import (
    AdvStyle,
    Asam,
    Awp,
    Ggpo,
    InputNoise,
    LoraParams,
    Method,
    Mgpo,
    Neftune,
    Sam,
    TokenMask,
    Zo,
)


class Finetune(LoraParams):
    """Which methods to compare with plain LoRA, on which task, at which cost."""

    methods: Annotated[
        tuple[Method, ...],
        Field(min_length=1, description="conditions beside `baseline`, which is plain LoRA"),
    ] = ("lora", "mgpo", "sam")
    noises: Annotated[
        tuple[InputNoise, ...],
        Field(min_length=1, description="input noise while training; one condition each"),
    ] = ("none",)
    budget: Annotated[
        Literal["epochs", "passes"],
        Field(description="passes: methods of two passes a step take half the steps, so that cost is equal"),
    ] = "epochs"
    dtype: Annotated[Literal["float32", "bfloat16"], Field(description="autocast type of the model")] = (
        "float32"
    )
    ggpo: Ggpo = Ggpo()
    mgpo: Mgpo = Mgpo()
    sam: Sam = Sam()
    asam: Asam = Asam()
    awp: Awp = Awp()
    zo: Zo = Zo()
    token_mask: TokenMask = TokenMask()
    neftune: Neftune = Neftune()
    advstyle: AdvStyle = AdvStyle()

    @model_validator(mode="after")
    def _zo_fits_together(self) -> Finetune:
        if self.zo.estimator == "jvp" and self.zo.objective != "loss":
            raise ValueError(
                f"zo.estimator jvp needs a gradient; use spsa for objective {self.zo.objective!r}"
            )
        if self.zo.noise != "rademacher_lowrank" and self.zo.rank != 1:
            raise ValueError(
                f"zo.rank {self.zo.rank} belongs to noise rademacher_lowrank, not {self.zo.noise}"
            )
        published = (self.zo.estimator, self.zo.sides, self.zo.workers, self.zo.probes) == ("spsa", 2, 1, 1)
        if self.zo.noise == "gaussian_reference" and not published:
            raise ValueError(
                "zo.noise gaussian_reference is the published loop: estimator spsa, 2 sides, 1 worker, 1 probe"
            )
        return self

    @model_validator(mode="after")
    def _every_method_is_measured(self) -> Finetune:
        if "none" not in self.noises and (controls := set(self.methods) & {"head", "labels_shuffled", "zo"}):
            raise ValueError(f"{min(controls)} goes without input noise; add none to noises {self.noises}")
        return self


@agentkit.tool(
    name="weight.finetune",
    version="2",
    metrics=[
        Metric("accuracy_clean", 0, 1),
        Metric("accuracy_typo", 0, 1),
        Metric("macro_f1_clean", 0, 1),
        Metric("macro_f1_typo", 0, 1),
        Metric("exact_clean", 0, 1),
        Metric("exact_typo", 0, 1),
        Metric("loss", low=0, higher_is_better=False),
        Metric("weight_noise_rise", higher_is_better=False),
        Metric("log_bytes", low=0, baseline=0, higher_is_better=False),
        Metric("weights_bytes", low=0, baseline=0, higher_is_better=None),
        Metric("log_rebuilds", 0, 1, baseline=0),
    ],
    resources=Resources(memory=3 << 30),
    seconds_per_unit=180,
    splits_conditions=True,
    any_device=True,
)
def finetune(params: Finetune, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """Finetune a frozen text encoder with LoRA while its weights are perturbed, and test it on typos.

    `baseline` is plain LoRA. Methods: ggpo, mgpo (one pass a step), sam, asam, awp_lora (two), zo (no
    gradient: one byte per probe, a log that rebuilds the weights), and the controls head (no adapter) and
    labels_shuffled. Every condition of a unit shares split, initial values, data order and typos.
    `weight_noise_rise` is the test loss added by relative weight noise of 0.2. Of zo also the payload of its log,
    `log_bytes`, beside the matrices it stands for, `weights_bytes`, and `log_rebuilds`: 1 when base weights and log
    alone give them back bit for bit; LoRA has no log, so its `baseline` is 0. Needs minutes per unit.
    """
    from agentkit_weight.finetune import run

    return run(params, units, ctx)
