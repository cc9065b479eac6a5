"""Keyboard typos per CPU second, at equal measured edit rate: ours against nlpaug and TextAttack.

    python benchmarks/noise_text.py

Peers that are not importable are left out and named (pip install nlpaug==1.1.11 textattack==0.3.11).
The bars: at least 50 times nlpaug's throughput, at least 300 times TextAttack's. Same texts, one
thread, CPU time, best of three interleaved rounds. The time excludes any model.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from agentkit_input_noise.addresses import addresses
from agentkit_input_noise.letters import LetterNoise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RATE = 0.1
ROUNDS = 3
BARS = {"nlpaug": 50.0, "textattack": 300.0}


def letter_edit_rate(before: Sequence[str], after: Sequence[str]) -> float:
    """Share of ASCII letters that differ, over texts that kept their length."""
    letters = changed = 0
    for a, b in zip(before, after, strict=True):
        if len(a) == len(b):
            at = [i for i, c in enumerate(a) if c.isascii() and c.isalpha()]
            letters += len(at)
            changed += sum(a[i] != b[i] for i in at)
    return changed / max(letters, 1)


def ours(texts: Sequence[str], rate: float) -> list[str]:
    """Typos of a fixed key, everything included: hashing, editing, decoding."""
    return LetterNoise(texts, range(len(texts)), "typos", key=0x5EED).at(rate).texts


def nlpaug_typos() -> Callable[[Sequence[str]], list[str]]:
    """KeyboardAug set to letters only and every word, as near to ours as it goes."""
    import nlpaug.augmenter.char as nac

    augmenter = nac.KeyboardAug(
        aug_char_p=RATE, aug_char_min=0, aug_char_max=None, aug_word_p=1.0, aug_word_min=0, aug_word_max=None,
        include_special_char=False, include_numeric=False, include_upper_case=False, min_char=1,
    )  # fmt: skip
    return lambda texts: augmenter.augment(list(texts))


def textattack_typos() -> Callable[[Sequence[str]], list[str]]:
    """WordSwapQWERTY through an Augmenter."""
    from textattack.augmentation import Augmenter
    from textattack.transformations import WordSwapQWERTY

    augmenter = Augmenter(WordSwapQWERTY(), pct_words_to_swap=RATE, transformations_per_example=1)
    return lambda texts: [augmenter.augment(t)[0] for t in texts]


def throughput(run: Callable[[], object], sentences: int) -> float:
    """Sentences per CPU second of one run."""
    start = time.process_time()
    run()
    return sentences / max(time.process_time() - start, 1e-9)


def compare(
    name: str, peer: Callable[[Sequence[str]], list[str]], texts: Sequence[str], few: Sequence[str]
) -> bool:
    """Print one line; True when the ratio reaches the bar."""
    random.seed(0)
    rate = letter_edit_rate(few, peer(few))
    own_rate = letter_edit_rate(texts, ours(texts, rate))
    own = peers = 0.0
    for _ in range(ROUNDS):
        peers = max(peers, throughput(lambda: peer(few), len(few)))
        own = max(own, throughput(lambda: ours(texts, rate), len(texts)))
    ratio, bar = own / peers, BARS[name]
    verdict = "reached" if ratio >= bar else "MISSED"
    print(
        f"{name:11s} {peers:12,.0f} sentences/s at edit rate {rate:.4f}   ours {own:12,.0f} at {own_rate:.4f}   "
        f"{ratio:7.0f}x (bar {bar:.0f}x: {verdict})"
    )
    return ratio >= bar


def main() -> None:
    """Compare with every importable peer."""
    pool = [t for t in addresses.load("", "cpu").texts if t.isascii()]
    texts = pool * 20
    print(
        f"{len(texts):,} addresses for ours, {len(pool):,} (TextAttack: 200) for peers, CPU time, best of {ROUNDS}"
    )
    results = []
    for name, make, few in (("nlpaug", nlpaug_typos, pool), ("textattack", textattack_typos, pool[:200])):
        try:
            peer = make()
        except ImportError as error:
            print(f"{name:11s} not importable here ({error}); left out")
            continue
        results.append(compare(name, peer, texts, few))
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
