"""Knock-outs whose answer is known exactly, and three genes with a cycle: ours against sergio-rs 0.2.3.

    python benchmarks/gene_knockout.py

Peer: pip install sergio-rs==0.2.3, in a process of its own that is ended after 15 s. A activates B (K 3) and represses
E (K 2), decay 0.8: knocking A out leaves B at 0 and E at K/decay = 2.5.
"""

from __future__ import annotations

import subprocess
import sys
import time

from agentkit_gene.simulation.engine import Plan, simulate
from agentkit_gene.simulation.model import build_model
from agentkit_gene.simulation.moments import moments_of
from agentkit_gene.simulation.network import Edge, Gene, Network
from agentkit_gene.simulation.perturbation import parse_perturbation

NETWORK = Network(
    "ko",
    (
        Gene("A", 0.8, (2.0,)),
        Gene("B", 0.8, (0.0,), (Edge("A", 3.0),)),
        Gene("E", 0.8, (0.0,), (Edge("A", -2.0),)),
    ),
)
RING = Network(
    "ring",
    (
        Gene("M", 0.8, (1.0,)),
        Gene("A", 0.8, (0.0,), (Edge("M", 2.0, 1.0), Edge("C", -2.0, 1.0))),
        Gene("B", 0.8, (0.0,), (Edge("A", 3.0, 1.0),)),
        Gene("C", 0.8, (0.0,), (Edge("B", 3.0, 1.0),)),
    ),
)

PEER = """
import sys, sergio_rs as S
g = S.GRN(); genes = {n: S.Gene(n, 0.8) for n in "ABCEM"}
edges = {"ko": [("A", "B", 3.0, 2.5), ("A", "E", -2.0, 2.5)],
         "ring": [("M", "A", 2.0, 1.0), ("A", "B", 3.0, 1.0), ("B", "C", 3.0, 1.0), ("C", "A", -2.0, 1.0)]}[sys.argv[1]]
for a, b, k, h in edges: g.add_interaction(genes[a], genes[b], k, h, 2)
g.set_mrs()
rates = S.MrProfile.from_random(g, 1, (1.9, 2.0), (2.0, 2.1), 1)
if sys.argv[1] == "ko": g, rates = g.ko_perturbation("A", rates)
frame = S.Sim(g, 2000, 2000, 5, 0.01, 1, 7).simulate(rates)
names = frame[frame.columns[0]].to_list()
print({n: round(float(sum(row[1:]) / len(row[1:])), 3) for n, row in zip(names, frame.rows())})
"""


def peer(case: str) -> str:
    """What sergio-rs prints, or why it printed nothing."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PEER, case], capture_output=True, text=True, timeout=15, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer after 15 s (ended)"
    said = done.stdout.strip() or (done.stderr.strip().splitlines() or ["nothing"])[-1]
    return f"{said}  ({time.monotonic() - began:.1f} s)"


def main() -> None:
    """Print both answers beside the truth."""
    model = build_model(NETWORK)
    ko = parse_perturbation("KO:A")
    exact = moments_of(model, [ko], lna=False)["KO:A"].mean[:, 0]
    program = model.program(model.effects([ko]))
    cells = simulate(model, program, Plan("leap", 0.2, 18.75, 12_800, (0,)), 7)
    of = {model.network.names[g]: float(cells.level[r].mean()) for g, r in program.row_of[1].items()}
    print("knock-out of A          truth  B 0, E 2.5")
    print(f"  ours, noise-free             B {exact[1]:.10g}, E {exact[2]:.10g}")
    print(f"  ours, leap, 12 800 cells     B {of['B']:.4g}, E {of['E']:.4f}")
    print(f"  sergio-rs 0.2.3              {peer('ko')}")
    began = time.monotonic()
    ring = build_model(RING)
    print(
        f"a master over a cycle of three\n  ours, noise-free             {ring.wild_type[:, 0].round(6)}  ({time.monotonic() - began:.1f} s)"
    )
    print(f"  sergio-rs 0.2.3              {peer('ring')}")


if __name__ == "__main__":
    main()
