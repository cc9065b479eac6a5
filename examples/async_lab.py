"""Two questions to one lab from an event loop. Run it: python examples/async_lab.py"""

import asyncio
import tempfile

import agentkit


async def main() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        async with agentkit.lab(f"sqlite:///{folder}/lab.db", workers="inline") as lab:
            ask = {"target": "grn:toggle", "perturb": ["KD:A@0.7"], "readout": "B", "cells": 32}
            few, more = await asyncio.gather(
                lab.aexplore("gene.perturb", units=2, **ask),
                lab.aexplore("gene.perturb", units=4, **ask),  # two of its four units are known by then
            )
            same = list(few.rows()) == list(more.select(units=[0, 1]).rows())
            return [f"{len(few.units)} and {len(more.units)} units", f"the first two are the same: {same}"]


if __name__ == "__main__":
    print("\n".join(asyncio.run(main())))
