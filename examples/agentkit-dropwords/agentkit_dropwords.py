from typing import Annotated
import agentkit
from agentkit import Metric, Params
from pydantic import Field

class DropWords(Params):
    target: str = "minilm:"
    data: str = "addresses:"
    rate: Annotated[float, Field(ge=0, le=1, description="share of words removed")] = 0.2
    items: Annotated[int, Field(ge=1, le=500, description="texts a unit draws")] = 16

@agentkit.tool(name="dropwords.embedding", metrics=[Metric("cosine", -1, 1, baseline=1)], version="1")
def drop_words(params: DropWords, units, ctx):
    """Remove random words and measure how far the sentence embedding moves."""
    model, texts = ctx.target(params.target), ctx.target(params.data).texts
    table = agentkit.Measurements.builder(units)
    for unit in units:
        rng = unit.rng("words")
        clean = [texts[i] for i in rng.choice(len(texts), params.items, replace=False)]
        kept = [" ".join(w for w in text.split() if rng.random() >= params.rate) for text in clean]
        cosine = (model.encode(clean) * model.encode(kept)).sum(1).mean().clamp(-1, 1)
        table.add(unit, "baseline", "cosine", 1.0)
        table.add(unit, f"rate={params.rate}", "cosine", float(cosine) if params.rate else 1.0)
    return table.build()

@agentkit.hookimpl
def agentkit_register_tools(register):
    register(drop_words)
