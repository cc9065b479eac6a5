"""Screens of BioGRID ORCS as files of ours, in four parts: two to choose the pickers' constants, two to confirm them once.

    python benchmarks/gene_orcs.py ORCS OUT

ORCS: a folder of index_homo_sapiens.tsv and BIOGRID-ORCS-SCREEN_*.screen.tab.txt (BioGRID ORCS 1.1, MIT;
downloads.thebiogrid.org). Screens are chosen by rule, before any picker saw them: human pooled screens with all scores,
at least 17,000 genes and 100 to 1,600 hits; one a study (its first), none of a study among the shared screens; by kind of
phenotype, in the order of the hash of the study's identifier, to `select` and `confirm` in turn, and when those were full to
`select_more` and `fresh`. Hits are the study's own calls. The screens of a part are cut to the genes they share, so that
features are built once.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import math
from pathlib import Path

import numpy as np

PARTS = ("select", "confirm", "select_more", "fresh")
EACH = {"virus": 2, "chemical": 3, "protein": 3, "other": 2, "growth": 1, "fitness": 1}
"""Screens of each kind in a part: fitness screens fill the database, and one is enough."""
SHARED_AUTHORS = ("Schmidt", "Carnevale", "Scharenberg", "Steinhart", "Zhuang", "Horlbeck", "Sanchez")
FEWEST_GENES, FEWEST_HITS, MOST_HITS = 17_000, 100, 1_600
EFFECTS = (
    "log2",
    "fold change",
    "z-score",
    "castle effect",
    "beta score",
    "crispr score",
    "gamma",
    "rho",
    "ceres",
)
EFFECTS += ("t-score", "ranks score", "zlfc", "bayes factor")  # fmt: skip
CHANCES = ("p-value", "fdr", "rsa", "mageck", "castle score")
ONE_SIDED = 0.9

Row = dict[str, str]
Table = dict[str, tuple[float, bool]]


def kind_of(row: Row) -> str:
    """The kind of phenotype."""
    phenotype, why = row["PHENOTYPE"].lower(), row["SCREEN_RATIONALE"].lower()
    if phenotype == "cell proliferation":
        return "fitness" if "essential" in why or "fitness" in why else "growth"
    for kind, words in {"virus": ("virus",), "chemical": ("chemicals",)}.items():
        if any(phenotype == f"response to {w}" for w in words):
            return kind
    return "protein" if "protein" in phenotype or "signal" in phenotype else "other"


def eligible(row: Row) -> bool:
    """The rule of the module's first lines."""
    try:
        genes, hits = int(row["SCORES_SIZE"]), int(row["NUMBER_OF_HITS"])
    except ValueError:
        return False
    return (
        genes >= FEWEST_GENES
        and FEWEST_HITS <= hits <= MOST_HITS
        and row["FULL_SIZE_AVAILABLE"] == "Yes"
        and row["SCREEN_FORMAT"] == "Pool"
        and not row["AUTHOR"].startswith(SHARED_AUTHORS)
    )


def column_of(row: Row) -> tuple[int, bool] | None:
    """(which score column, whether it is a signed effect): the first effect, else the first chance."""
    kinds = [row[f"SCORE.{i}_TYPE"].lower() for i in range(1, 6)]
    for signed, words in ((True, EFFECTS), (False, CHANCES)):
        for i, kind in enumerate(kinds, start=1):
            if any(w in kind for w in words):
                return i, signed
    return None


def read(path: Path, column: int, signed: bool) -> Table:
    """(score, hit) by gene; a chance counts as -log10, a repeated gene as its mean, a missing score as the median."""
    scores: dict[str, list[float]] = {}
    hits: set[str] = set()
    with path.open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            gene = row["OFFICIAL_SYMBOL"]
            if gene == "-":
                continue
            value = _number(row[f"SCORE.{column}"])
            if not signed and not math.isnan(value):
                value = -math.log10(max(value, 1e-12)) if value > 0 else abs(value)
            scores.setdefault(gene, []).append(value)
            if row["HIT"] == "YES":
                hits.add(gene)
    middle = float(np.nanmedian([v for vs in scores.values() for v in vs]))
    means = {g: float(np.nanmean(vs)) if not all(map(math.isnan, vs)) else middle for g, vs in scores.items()}
    return {g: (v, g in hits) for g, v in means.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def direction_of(table: Table) -> str:
    """On which side of the median the study's hits lie."""
    middle = np.median([v for v, _ in table.values()])
    above = np.mean([v > middle for v, hit in table.values() if hit])
    return "high" if above >= ONE_SIDED else "low" if above <= 1 - ONE_SIDED else "abs"


def task_of(row: Row) -> str:
    """What the index says of the screen, as a sentence."""
    said = row["SCREEN_RATIONALE"].strip()
    said += f" ({row['PHENOTYPE']})"
    if row["CONDITION_NAME"] != "-":
        said += f" with {row['CONDITION_NAME']}"
    return f"identify genes for: {said}, in {row['CELL_LINE']} cells ({row['CELL_TYPE']})".replace('"', "'")


def chosen(orcs: Path) -> dict[str, list[Row]]:
    """Index rows by part."""
    with (orcs / "index_homo_sapiens.tsv").open() as lines:
        rows = [r for r in csv.DictReader(lines, delimiter="\t") if eligible(r) and column_of(r)]
    first: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: int(r["#SCREEN_ID"])):
        if _file(orcs, row).is_file() and _file(orcs, row).stat().st_size > 10_000:
            first.setdefault(row["SOURCE_ID"], row)
    parts: dict[str, list[Row]] = {p: [] for p in PARTS}
    for kind, count in EACH.items():
        mine = [r for r in first.values() if kind_of(r) == kind]
        mine.sort(key=lambda r: hashlib.sha256(r["SOURCE_ID"].encode()).hexdigest())
        for i, row in enumerate(mine[: 4 * count]):
            parts[PARTS[i % 2 + 2 * (i >= 2 * count)]].append(row)
    return parts


def _file(orcs: Path, row: Row) -> Path:
    found = sorted(orcs.glob(f"BIOGRID-ORCS-SCREEN_{row['#SCREEN_ID']}-*.screen.tab.txt"))
    return found[0] if found else orcs / "absent"


def main() -> None:
    """Write the four folders; print what is in them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("orcs", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for part, rows in chosen(args.orcs).items():
        tables = {}
        for row in rows:
            column, signed = column_of(row) or (1, True)
            tables[row["#SCREEN_ID"]] = read(_file(args.orcs, row), column, signed)
        genes = sorted(set.intersection(*(set(t) for t in tables.values())))
        folder = args.out / part
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{part}: {len(genes)} genes in all of {len(rows)} screens")
        for row in rows:
            _write(folder, row, {g: tables[row["#SCREEN_ID"]][g] for g in genes})


def _write(folder: Path, row: Row, table: Table) -> None:
    author = row["AUTHOR"].split()[0]
    name = f"{kind_of(row)}_{author}_{row['#SCREEN_ID']}"
    with gzip.open(folder / f"{name}.csv.gz", "wt") as out:
        out.write("gene,score,hit\n")
        out.writelines(f"{gene},{score},{int(hit)}\n" for gene, (score, hit) in table.items())
    facts = {"task": task_of(row), "direction": direction_of(table), "study": f"pubmed {row['SOURCE_ID']}"}
    (folder / f"{name}.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in facts.items()))
    print(f"  {name}: {sum(h for _, h in table.values())} hits, {facts['direction']}; {facts['task']}")


if __name__ == "__main__":
    main()
