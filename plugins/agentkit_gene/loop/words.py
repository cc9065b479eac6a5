"""Words of task texts and set names. The stop list is fixed: it is not extended after seeing a screen."""

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
experiment experiments expected expression fitness focused fold following gene genes genetic genome genomewide given
guide guides high hit hits human identify improve improves increase increased increases indicated induce induced induces
influence influences involved knock knocked knockdown knockout level levels library log loss low mediate mediated
mediates mediating modulate modulates modulating measured measurement negative normalized observed perturb perturbation
perturbed perturbing pooled positive presence production promote promotes protein proteins read reads reduce reduced
reduces regulate regulated regulates regulating regulation regulator regulators required resist resistance response
responses role score scores screen screened screening screens sensitivity sgrna sgrnas significant sorting targeting
targets treated treatment under vs
"""
STOP_WORDS = frozenset((ENGLISH + SCREENING).split())
IDENTIFIER = re.compile(r"\(?\b(?:GO:\d+|MP:\d+|WP\d+|hsa\d+|R-HSA-\d+)\b\)?")
SYMBOL = re.compile(r"\b[A-Z][A-Z0-9-]{2,}")


@lru_cache(maxsize=65536)
def tokens(text: str) -> frozenset[str]:
    """Lower-case words and numbers of at least two characters, a final s dropped, without stop words and identifiers."""
    found = re.findall(r"[a-z0-9]+", IDENTIFIER.sub(" ", text).lower())
    return frozenset(_singular(t) for t in found if len(t) >= 2 and t not in STOP_WORDS)


def _singular(word: str) -> str:
    """The word without its final s, when three letters or more are left (receptors and receptor are one word)."""
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def symbols_in(text: str) -> list[str]:
    """Words of a text that could be gene symbols: capitals and digits, hyphens removed (IL-2 gives IL2)."""
    return [m.group().replace("-", "") for m in SYMBOL.finditer(text)]
