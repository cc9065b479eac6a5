"""What the screen tools take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from agentkit import Params

Batch = Annotated[
    Annotated[int, Field(ge=1, le=10_000)] | None,
    BeforeValidator(lambda value: None if value == "auto" else value),
    Field(
        description="genes per batch, tested in each round; left out (or auto): 32 below 2000 genes, else 128"
    ),
]
Mode = Annotated[
    Literal["hit", "score"],
    Field(
        description="what a picker is told of tested genes. hit: the screen's own hit flag (to compare pickers); "
        "score: scores only, as a lab has them, hits are the strongest tenth of the tested"
    ),
]
Quantile = Annotated[
    float,
    Field(ge=0.01, le=0.5, description="with feedback score: which part of the tested genes is called hits"),
]
Threshold = Annotated[
    float | None, Field(description="score beyond which a tested gene is a hit, instead of the share")
]
Task = Annotated[
    str, Field(max_length=2000, description="goal in words, read by the prior; the target's when empty")
]
Direction = Annotated[
    Literal["abs", "high", "low"] | None,
    Field(description="which scores are hits: far from the middle, high, low; the target's when left out"),
]
PICKERS = "prior+ens, prior, random, trees, prior+trees, gp_thompson, top_uncertain, soft_uncertain, coreset, kmeans, xprior+ens"


Features = Annotated[
    list[str],
    Field(
        default_factory=list,
        description="prior knowledge about genes (.gmt, .sif, .csv); left out: the simulation's own, else what is "
        "installed",
    ),
]
AllowLow = Annotated[
    bool, Field(description="go on although under a fifth of the genes is found in the features")
]


class ScreenParams(Params):
    """What every screen tool does with the features that it is given."""

    @model_validator(mode="before")
    @classmethod
    def _knowledge_is_named(cls, values: Any) -> Any:
        """Write out where prior knowledge comes from, so that a job's identity holds it."""
        if not isinstance(values, dict):
            return values
        given = values.get("features")
        if not given and not str(values.get("target", "screen:sim")).startswith("screen:sim"):
            return {**values, "features": ["features:found"]}
        return values

    @field_validator("features", mode="after", check_fields=False)
    @classmethod
    def _files_are_targets(cls, paths: list[str]) -> list[str]:
        return [p if p.startswith("features:") else f"features:{p}" for p in paths]


class LoopParams(ScreenParams):
    """Params of `gene.loop`."""

    target: Annotated[
        str,
        Field(
            description="finished screen: screen:sim?genes=2000&seed=7 (simulated; seed=unit draws a network for every unit), "
            "screen:PATH.csv with the columns gene, score and hit, or a shared screen such as screen:IL2"
        ),
    ] = "screen:sim"
    pickers: Annotated[
        list[str],
        Field(
            min_length=1,
            description=f"strategies compared with random: {PICKERS}; NAME!permuted gets shuffled feedback",
        ),
    ] = ["prior+ens"]  # noqa: RUF012 - pydantic copies it
    rounds: Annotated[int, Field(ge=1, le=50, description="how many batches")] = 5
    batch: Batch = None
    feedback: Mode = "hit"
    quantile: Quantile = 0.1
    threshold: Threshold = None
    task: Task = ""
    direction: Direction = None
    transfer: Annotated[bool, Field(description="let xprior+ens learn from the hits of other studies")] = (
        False
    )
    studies: Annotated[
        list[str],
        Field(default_factory=list, description="screens of other studies for transfer, such as screen:IFNG"),
    ]
    permuted: Annotated[
        bool, Field(description="also run every picker on permuted (shuffled) feedback, as a control")
    ] = False
    features: Features
    allow_low_coverage: AllowLow = False

    @field_validator("pickers", mode="after")
    @classmethod
    def _pickers_exist(cls, names: list[str]) -> list[str]:
        return [checked_picker(name) for name in dict.fromkeys(names)]

    @property
    def conditions(self) -> list[str]:
        """Names of what is compared with random, in order."""
        shuffled = (
            [f"{name.removesuffix('!permuted')}!permuted" for name in self.pickers] if self.permuted else []
        )
        return list(dict.fromkeys([*self.pickers, *shuffled]))

    @model_validator(mode="after")
    def _transfer_has_studies(self) -> LoopParams:
        wanted = any(name.startswith("xprior+ens") for name in self.pickers)
        if wanted != self.transfer or self.transfer != bool(self.studies):
            if not wanted and not self.transfer and not self.studies:
                return self
            raise ValueError(
                "transfer needs three things together: the picker xprior+ens, transfer=True, and studies=[screens of "
                "other studies]"
            )
        return self


class Result(BaseModel):
    """One tested gene."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    gene: Annotated[str, Field(min_length=1)]
    score: float
    hit: bool | None = None
    round: Annotated[int, Field(ge=1)] = 1


class Proposals(BaseModel):
    """What a chat model or a person proposes for a round; none of it replaces the picker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: Annotated[list[str], Field(description="genes near which to look")] = []
    sets: Annotated[list[str], Field(description="names of gene sets that matter")] = []
    candidates: Annotated[
        list[str], Field(description="genes to test, best first; at most a quarter of the batch")
    ] = []
    why: Annotated[str, Field(max_length=2000)] = ""


class NextParams(ScreenParams):
    """Params of `gene.next`."""

    target: Annotated[
        str,
        Field(
            description="library of genes that may be tested: screen:PATH.csv with the column gene, a shared screen such as "
            "screen:IL2, or screen:sim?genes=2000&seed=7"
        ),
    ]
    results: Annotated[
        str | list[Result],
        Field(
            description="results so far, a file (.csv with the columns gene, score and maybe hit) or rows; none before round 1"
        ),
    ] = []  # noqa: RUF012 - pydantic copies it
    task: Task = ""
    batch: Batch = None
    picker: Annotated[str, Field(description=f"strategy that ranks untested genes: {PICKERS}")] = "prior+ens"
    feedback: Mode = "score"
    quantile: Quantile = 0.1
    threshold: Threshold = None
    direction: Direction = None
    proposals: Annotated[
        Proposals | None, Field(description="genes and sets that somebody proposes for this round")
    ] = None
    features: Features
    allow_low_coverage: AllowLow = False

    @field_validator("picker", mode="after")
    @classmethod
    def _picker_exists(cls, name: str) -> str:
        checked_picker(name)
        if name.startswith("xprior+ens") or name.endswith("!permuted"):
            raise ValueError(f"{name} compares finished screens; use it in gene.loop")
        return name

    @field_validator("results", mode="after")
    @classmethod
    def _a_file_is_a_target(cls, results: str | list[Result]) -> str | list[Result]:
        """So that a job's identity holds the file's content, not its name."""
        if isinstance(results, str) and results and not results.startswith("screen:"):
            return f"screen:{results}"
        return results


class FeaturesParams(ScreenParams):
    """Params of `gene.features`."""

    target: Annotated[
        str,
        Field(description="library of genes: screen:PATH.csv, screen:NAME or screen:sim?genes=2000&seed=7"),
    ]
    features: Features
    allow_low_coverage: AllowLow = False


def checked_picker(name: str) -> str:
    """A picker's name, with `!permuted` or without; raises ValueError with near names."""
    from agentkit.errors import unknown
    from agentkit_gene.loop.pickers import picker_names, split_name

    if split_name(name)[0] not in picker_names():
        raise ValueError(unknown("picker", name, picker_names()))
    return name
