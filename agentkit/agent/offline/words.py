"""English as far as the planner needs it: stems, stop words, and near-synonyms of perturbation research.

Nothing here names a tool: what a tool is about is read from its own schema and docstring.
"""

from __future__ import annotations

import re
from functools import cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUFFIXES = (
    ("isations", "is"), ("isation", "is"), ("ations", ""), ("ation", ""), ("atives", ""), ("ative", ""),
    ("ating", ""), ("ated", ""), ("ates", ""), ("ate", ""), ("ies", "y"), ("ied", "y"), ("iers", "y"), ("ier", "y"),
    ("sses", "ss"), ("ings", ""), ("ing", ""), ("ers", ""), ("er", ""), ("ors", ""), ("or", ""), ("ed", ""),
    ("ions", ""), ("ion", ""), ("als", ""), ("al", ""), ("ly", ""), ("es", ""), ("s", ""), ("e", ""),
)  # fmt: skip
SHORTEST_STEM = {
    "ers": 4,
    "er": 4,
    "ors": 5,
    "or": 5,
    "ions": 4,
    "ion": 4,
    "als": 4,
    "al": 4,
    "s": 2,
    "es": 3,
    "e": 3,
}
IRREGULAR = {
    "universe": "universe",
    "misspelt": "misspell", "mispelt": "misspell", "misspelled": "misspell", "matrices": "matrix", "radii": "radius",
    "indices": "index", "heads": "head", "classes": "class", "bias": "bias", "loss": "loss", "losses": "loss",
    "noisy": "noise", "sharper": "sharp", "sharpest": "sharp", "sharpness": "sharp", "proof": "prove", "proven": "prove",
    "lost": "lose", "fell": "fall", "rose": "rise", "spectra": "spectrum", "rate": "rate", "rates": "rate",
    "states": "state", "state": "state", "date": "date", "plate": "plate", "largest": "large", "larger": "large",
    "epistatic": "epistasis", "strongest": "strong", "stronger": "strong", "strongly": "strong", "this": "this", "its": "its",
}  # fmt: skip

STOP = _words(
    """
    a an the this that these those it its they them their there here i me my mine we us our you your
    yours he she and or but nor if then of in on at to for from by with without under over into onto
    about as per via through within between among after before during while when where than so such both
    each every any some one ones two several many much more most less least few fewer very too also only
    just even still ever never not no nothing all is are was were be been being am do does did done have
    has had having can could may might must shall should will would let lets get gets got give gives go
    goes what which who whom whose why how whether please show tell say see look looks looking run runs
    running try tries trying test tests tested testing check measure measures measured measuring want
    wants need needs like make makes making take takes use uses using used find finds found work works
    happen happens happening put set up down out off again time times now next first last same other
    others another different large small big high low strong weak good bad well far register explore
    confirm plan experiment study hypothesis claim question answer effect effects affect affects affected
    lower lowers lowering raise raises raising increase increases decrease decreases change changes
    changed improve improves hurt hurts drop fall falls falling reduce reduces versus vs against compare
    compared comparing compute analyse analyze investigate examine quantify determine evaluate assess
    know thing things something anything everything way kind sort lot half share percent amount number
    hello hi thanks thank ok okay yes sure maybe really quite fast quick quickly better best worse worst
    across along toward towards whole single robust robustness tolerate tolerates tolerance withstand
    cope copes sensitive resilient because instead rather respect regard terms value values level levels
    help helps helped useful useless halve halves double people someone anybody badly
    don't doesn't didn't isn't aren't can't won't shouldn't only just yet
    """
)  # fmt: skip

SYNONYMS = (
    "typo misspell misspelling mistype misspelt spelling mistake slip",
    "remove delete drop ablate prune lesion disable knockout zero leave",
    "knockout ko", "knockdown kd silence crispri sirna rnai", "overexpress oe upregulate overexpression",
    "image picture photo", "prove verify guarantee provable provably proof verified", "certify certificate certified guarantee",
    "attack adversarial adversary attacker fool", "universal uap", "noise corruption corrupt jitter noisy",
    "sharp flat flatness curvature hessian eigenvalue bend", "finetune train retrain training",
    "bit quantise quantize precision quantisation bitwidth", "tag tagger slot entity ner label parse parser",
    "find match retrieve retrieval recall linkage lookup search", "word token",
    "landscape surface terrain map", "detect spot recognise recognize detector", "strength rate dose amount severity fraction intensity",
    "interact interaction epistasis pair synergy", "pair double pairwise", "saliency attribution explain explanation heatmap", "sensor observe observation obs", "effnet efficientnet", "rebuild replay reconstruct restore recreate",
    "embed embedding vector representation", "encoder embedder transformer", "classifier network net", "shuffle permute scramble reorder",
    "unit replicate seed repeat", "smooth smoothing", "swap transpose", "letter character char",
    "radius eps epsilon size", "gene regulator transcription", "important importance matter",
    "cost loss", "average mean", "adapter lora", "rank dimension", "block layer", "forecast predict prediction",
    "misread ocr scan lookalike", "zeroth zo mezo", "wrong noisy mislabel corrupt", "star asterisk", "edge link", "cell single-cell", "text sentence string query", "address record",
    "draw sample", "step iteration", "rise increase", "resample patch",
)  # fmt: skip

PHRASES = (
    (r"knock(?:ing|ed|s)?[ -]?outs?", "knockout"), (r"knock(?:ing|ed|s)?[ -]?downs?", "knockdown"),
    (r"over-?[ ]?express(?:ing|ed|es|ion)?", "overexpress"), (r"fine-?[ ]tun(?:e|ing|ed)", "finetune"),
    (r"tak(?:e|es|ing)[ ]out|turn(?:s|ed|ing)?[ ]off", "remove"), (r"switch(?:ed|ing)?[ ]off", "remove"), (r"left out|leav(?:e|ing) out", "remove"),
    (r"\b(?:fine-?[ ]?tuned|trained)[ ](model|weights|network|net|adapters?|encoder|classifier)\b", r"\g<1>"),
    (r"\b(\d+)[ ]?by[ ]?\1\b(?:[ ]grid)?", r"grid \g<1>"),
    (r"\bcart[ -]pole\b", "cartpole"), (r"\bsalt[ -](?:and|&)[ -]pepper\b", "impulse"),
    (r"\b(scal\w+\b[^;,]{0,40}\bby )half\b", r"\g<1>0.5"), (r"\bhalf(?: the)? (strength|rate|dose)\b", r"\g<1> 0.5"),
    *((rf"\b{w}-?[ ]?fold\b", str(i)) for i, w in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=2)),
    (r"\b(\d+)-?[ ]?fold\b", r"\g<1>"), (r"\bthrow(?:ing|n)?[ ]away\b", "remove"),
    (r"learning[ ]rate", "lr"), (r"l-?[ ]?(?:inf|infinity|∞)\b", "linf"), (r"f-1\b", "f1"),
)  # fmt: skip
NUMBER_WORDS = {
    w: i
    for i, w in enumerate(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=2)
}

# words too common to mean an option by themselves; the option's own name must stand beside them
COMMON_VALUES = _words(
    """
    max min set all none mean base between over only single full auto any fixed head random order
    """
)  # fmt: skip


@cache
def stem(word: str) -> str:
    """A light stem: `misspelt`, `misspells` and `misspelling` become one; never shorter than three letters."""
    word = word.casefold().replace("ization", "isation").replace("izing", "ising").replace("ized", "ised")
    word = re.sub(r"(?<=...)ize(s?)$", r"ise\1", word)
    if word in IRREGULAR:
        return IRREGULAR[word]
    for suffix, instead in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM.get(suffix, 3):
            if suffix == "s" and word.endswith(("ss", "us", "is")):
                continue
            root = word[: -len(suffix)] + instead
            if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz":
                root = root[:-1]
            return root[:-1] if root.endswith("e") and len(root) > 3 else root
    return word


def pieces(name: str) -> list[str]:
    """The words inside an identifier: `recall_at_1`, `WeightBits` and `span-f1` split at every border."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [p for p in re.split(r"[^A-Za-z0-9]+", spaced) if p]


def stems_of(text: str) -> list[str]:
    """Search words of a text: stems of content words, identifiers both whole and in pieces."""
    found: list[str] = []
    for word in re.findall(r"[A-Za-z][A-Za-z0-9_]*", merge_phrases(text)):
        parts = pieces(word)
        if len(parts) > 1:
            found.append(word.casefold())
        found += [stem(p) for p in parts if len(p) > 1 and p.casefold() not in STOP and not p.isdigit()]
    return found


def merge_phrases(text: str) -> str:
    """Words that are written apart, together: `knock out` is `knockout`."""
    for pattern, word in PHRASES:
        text = re.sub(pattern, word, text, flags=re.IGNORECASE)
    return text


@cache
def synonyms() -> dict[str, frozenset[str]]:
    """Stem to its near-synonyms (stems), itself left out."""
    table: dict[str, set[str]] = {}
    for line in SYNONYMS:
        group = {stem(w) for w in line.split()}
        for member in group:
            table.setdefault(member, set()).update(group - {member})
    return {k: frozenset(v) for k, v in table.items()}


def alike(a: str, b: str) -> bool:
    """Whether two stems are one word: equal, or one of at least three letters begins the other."""
    return a == b or (
        min(len(a), len(b)) >= 3 and (a.startswith(b) or b.startswith(a)) and abs(len(a) - len(b)) <= 6
    )


def trigram_dice(a: str, b: str) -> float:
    """Letter-trigram Dice coefficient of two words with ends marked; 1 for equal words."""
    ours, theirs = _trigrams(a), _trigrams(b)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


@cache
def _trigrams(word: str) -> frozenset[str]:
    padded = f"^{word}$"
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2)) or frozenset({padded})
