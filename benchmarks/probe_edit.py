"""Moving hidden states to a wanted probe probability: our ascent against the published closed form.

    python benchmarks/probe_edit.py

The published step (universe-sky/probing-then-editing-personality, after arXiv 2504.10227) treats a
multinomial probe as if it had two classes. Three classes, 64 dimensions, probability .9 asked for.
The bar: every reachable item within 1e-3 of what was asked.
"""

from __future__ import annotations

import numpy as np

from agentkit_attention.probes import closed_form, edit_to, fit_probe

CLASSES, DIM, ITEMS, P_STAR, BAR = 3, 64, 400, 0.9, 1e-3


def main() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ITEMS)
    hidden = 0.6 * rng.standard_normal((CLASSES, DIM))[labels] + rng.standard_normal((ITEMS, DIM))
    probe = fit_probe(hidden, labels, CLASSES)
    low = probe.probabilities(hidden)[:, 0] < P_STAR
    theirs = probe.probabilities(closed_form(probe, hidden, 0, P_STAR))[low, 0]
    edited, reached = edit_to(probe, hidden, 0, P_STAR)
    ours = probe.probabilities(edited)[low, 0]
    moved = np.linalg.norm(edited - hidden, axis=1)[low]
    print(f"{low.sum()} items below {P_STAR}, probe accuracy {probe.accuracy(hidden, labels):.3f}")
    print(
        f"published closed form: mean p {theirs.mean():.3f}, within {BAR:g}: {(abs(theirs - P_STAR) <= BAR).mean():.0%}"
    )
    print(
        f"ours: p {ours.min():.4f} to {ours.max():.4f}, within {BAR:g}: {(abs(ours - P_STAR) <= BAR).mean():.0%}, "
        f"{(~reached).sum()} unreachable, mean displacement {moved.mean():.2f}"
    )
    raise SystemExit(not (reached.all() and (abs(ours - P_STAR) <= BAR).all()))


if __name__ == "__main__":
    main()
