"""Memory of perturbing selected heads of one attention layer, against plain attention and the explicit map.

    python benchmarks/attention_memory.py

Peak extra resident memory of a child process per case (batch 1, 24 heads of 64, float32). The bars: with all 24
heads perturbed at 4,429 tokens at most 1.2 times plain attention, and extra memory linear in the tokens.
"""

from __future__ import annotations

import resource
import subprocess
import sys

HEADS, DIM, SELECTED = 24, 64, 3
TOKENS = (1024, 2048, 4429)
BAR = 1.2
CASES = ("plain", "identity, 3 heads", "identity, 24 heads", "uniform, 24 heads", "explicit map, 3 heads")


def peak_mib() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(case: str, tokens: int) -> None:
    """Run one case and print its peak beyond the inputs and the imports, in MiB."""
    import torch

    from agentkit_attention.calls import AttentionCall, SiteKey
    from agentkit_attention.edits import Condition, Edit, apply_edits
    from agentkit_attention.sites import Head, Site
    from agentkit_attention.techniques import EditState

    torch.set_num_threads(1)
    q, k, v = (torch.randn(1, HEADS, tokens, DIM) for _ in range(3))
    start = peak_mib()
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    if case.startswith("explicit"):
        heads = slice(0, SELECTED)
        attention = (q[:, heads] @ k[:, heads].transpose(2, 3) * DIM**-0.5).softmax(-1)
        attention = 0.5 * attention + 0.5 * torch.eye(tokens)
        out[:, heads] = attention @ v[:, heads]
    elif case != "plain":
        name, count = case.split(",")[0], int(case.split()[1])
        call = AttentionCall(SiteKey("layer"), out, q, k, v, None, False, DIM**-0.5, "sdpa")
        site = Site(call.site, "layer", "layer", 0, HEADS, HEADS, DIM, tokens, tokens, "sdpa", True)
        edits = [Edit(Condition("c", (), name, 0.5), Head(0, h, site), 0, 1) for h in range(count)]
        apply_edits(call, edits, EditState(), torch.zeros(1, dtype=torch.long), in_place=True)
    print(f"{peak_mib() - start:.1f}")


def measured(case: str, tokens: int) -> float:
    """The child's figure."""
    command = [sys.executable, __file__, case, str(tokens)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    if len(sys.argv) == 3:
        child(sys.argv[1], int(sys.argv[2]))
        return
    table = {case: [measured(case, n) for n in TOKENS] for case in CASES}
    print("extra MiB at".ljust(24) + "".join(f"{n:>10}" for n in TOKENS))
    for case, row in table.items():
        print(case.ljust(24) + "".join(f"{m:10.1f}" for m in row))
    inputs = 3 * HEADS * TOKENS[-1] * DIM * 4 / 2**20
    plain, ours = table["plain"][-1], table["identity, 24 heads"][-1]
    ratio = (inputs + ours) / (inputs + plain)
    growth = ours / table["identity, 24 heads"][0] / (TOKENS[-1] / TOKENS[0])
    print(
        f"24 heads at {TOKENS[-1]}: {ratio:.2f}x plain attention, inputs counted (bar {BAR:g}x); growth over linear {growth:.2f}"
    )
    raise SystemExit(not (ratio <= BAR and growth <= BAR))


if __name__ == "__main__":
    main()
