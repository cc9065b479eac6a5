"""The tool `attention.sites`: which heads a target has, what they are called and what can be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

import agentkit
from agentkit import BASELINE, Context, Metric, Unit


class Sites(agentkit.Params):
    """Whose heads to list."""

    target: Annotated[
        str,
        Field(
            description="the model, as a target URI: minilm:, smollm2:, hf:FOLDER, digits-dit:, diffusers:FOLDER"
        ),
    ] = "minilm:"


@agentkit.tool(
    name="attention.sites",
    metrics=[Metric("layers", 0, higher_is_better=None), Metric("heads", 0, higher_is_better=None)],
    version="1",
    seconds_per_unit=1.0,
    explore_only=True,
)
def sites(params: Sites, units: Sequence[Unit], ctx: Context) -> agentkit.Measurements:
    """List which attention heads a model or a diffusion pipeline has: names, sizes, the techniques each can take.

    Watches one forward pass of the unchanged model on a small input. The table `sites.csv` holds a row per
    attention call: address, short name, heads, key-value heads, head size, self or cross, tokens, image
    rows, engine, usable techniques.

    Conditions: `baseline` alone. Metrics: `layers` (attention calls in a pass) and `heads`.
    """
    from agentkit_attention.models import describe

    model = describe(ctx.target(params.target))
    table = model.table
    ctx.artifact("sites.csv", table_of(model))
    shape = (len(units), 1)
    return agentkit.Measurements.from_arrays(
        units,
        [BASELINE],
        {"layers": [[len(table.sites)]] * shape[0], "heads": [[len(table.heads)]] * shape[0]},
    )


def table_of(model: object) -> list[dict[str, object]]:
    """One row per attention call of a described model."""
    from agentkit_attention.models import Described
    from agentkit_attention.technique_table import JOINT_TECHNIQUES, TECHNIQUES

    if not isinstance(model, Described):
        raise TypeError(type(model).__name__)
    rows: list[dict[str, object]] = []
    for site in model.table.sites:
        self_attention = site.queries == site.keys
        usable = [
            t.name
            for t in TECHNIQUES.values()
            if (t.reads in ("out", "block") or site.engine != "projection")
            and (t.name != "identity" or self_attention)
            and (t.name not in JOINT_TECHNIQUES or model.joint(site))
        ]
        rows.append(
            {
                "address": site.address,
                "short": f"L{site.layer}" if site.short else "",
                "heads": site.heads,
                "kv_heads": site.kv_heads,
                "head_dim": site.head_dim,
                "kind": "self" if self_attention else "cross",
                "queries": site.queries,
                "keys": site.keys,
                "image_rows": "-".join(map(str, model.image_rows(site) or ())),
                "engine": site.engine,
                "techniques": " ".join(usable),
            }
        )
    return rows
