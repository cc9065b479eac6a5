"""Words of task texts and set names. The stop list is fixed: it is not extended after seeing a screen.

It holds no word that names a kind of process (production, response, expression): those tell sets apart.
"""

from __future__ import annotations

import re
from functools import lru_cache

ENGLISH = """
a about above across after all also an and any are as at be because been before being below between both but by can
could did do does doing down during each few for from further had has have having he her here his how i if in into is it
its itself just many may me might more most much must my no nor not of off on once only or other our out over own per
same she should so some such than that the their them then there these they this those through to too toward towards
under until up upon used using very via was we were what when where which while who whom whose why will with within
without would you your
"""
SCREENING = """
abundance affect affects assay assays base boost boosts cas9 cell cells change changed changes compared condition
conditions control controls count counts crispr crispra crispri day days decrease decreased decreases depleted depletion
dependent deviation difference drug drugs effect effects efficacy engineered enhance enhances enrich enriched enrichment
experiment experiments expected fitness focused fold following gene genes genetic genome genomewide given
guide guides high hit hits human identify improve improves increase increased increases indicated induce induced induces
influence influences involved knock knocked knockdown knockout level levels library log loss low mediate mediated
mediates mediating modulate modulates modulating measured measurement negative normalized observed perturb perturbation
perturbed perturbing pooled positive presence promote promotes protein proteins read reads reduce reduced
reduces regulate regulated regulates regulating regulation regulator regulators required resist role score scores screen screened screening screens sensitivity sgrna sgrnas significant sorting targeting
targets treated treatment under vs
"""
STOP_WORDS = frozenset((ENGLISH + SCREENING).split())
IDENTIFIER = re.compile(r"\(?\b(?:GO:\d+|MP:\d+|WP\d+|hsa\d+|R-HSA-\d+)\b\)?")
SYMBOL = re.compile(r"\b[A-Z][A-Z0-9-]{2,}")

NUMBERED = re.compile(r"\b([a-z]{2,})[ -](\d+[a-z]?)\b")
CELL = re.compile(r"\b([a-z0-9]+)[ -](cell)s?\b")


@lru_cache(maxsize=65536)
def tokens(text: str) -> frozenset[str]:
    """Lower-case words of at least two characters, a final s dropped, without stop words and identifiers.

    A word with its number is one more word (interleukin-2 gives interleukin and interleukin2), and so is a kind of cell
    (T cells give tcell): 2 is not 6, and T is not B.
    """
    plain = IDENTIFIER.sub(" ", text).lower()
    found = re.findall(r"[a-z0-9]+", plain)
    words = {_singular(t) for t in found if len(t) >= 2 and t not in STOP_WORDS}
    joined = [*NUMBERED.findall(plain), *CELL.findall(plain)]
    return frozenset(words | {w + n for w, n in joined if w not in STOP_WORDS})


def _singular(word: str) -> str:
    """The word without its final s, when three letters or more are left (receptors and receptor are one word)."""
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def symbols_in(text: str) -> list[str]:
    """Words of a text that could be gene symbols: capitals and digits, hyphens removed (IL-2 gives IL2)."""
    return [m.group().replace("-", "") for m in SYMBOL.finditer(text)]
