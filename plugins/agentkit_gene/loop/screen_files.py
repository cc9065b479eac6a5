"""Screens and results from files: gene, score and optionally hit and control; or gene_a, gene_b and score."""

from __future__ import annotations

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from agentkit.errors import TargetUnavailableError, unknown
from agentkit_gene.loop.errors import BadScreenError
from agentkit_gene.loop.screen import PAIR_SIGN, Answers, Direction, Library, Screen
from agentkit_gene.loop.tables import Table, read_table, read_text

Duplicates = Literal["refuse", "mean"]
TRUE, FALSE = {"1", "true", "yes", "t", "1.0"}, {"0", "false", "no", "f", "0.0", ""}
SIDECAR_KEYS = {"task", "measurement", "direction", "study", "essential", "name"}

SHARED_SCREENS: dict[str, tuple[Direction, str]] = {
    "IL2": ("abs", "Schmidt22"),
    "IFNG": ("abs", "Schmidt22"),
    "Carnevale22_Adenosine": ("abs", "Carnevale22"),
    "Steinhart_crispra_GD2_D22": ("high", "Steinhart"),
    "Scharenberg22": ("high", "Scharenberg22"),
    "Zhuang19_NK": ("abs", "Zhuang19"),
    "Horlbeck_pairs": ("abs", "Horlbeck18"),
}
"""Direction and study of the shared screens: their task file has neither."""
PAIR_CONTROL = "negative"


def read_screen(
    path: Path,
    *,
    duplicates: Duplicates = "refuse",
    essential: Path | None = None,
    **told: Any,
) -> Screen:
    """A finished screen.

    Args:
        path: .csv, .tsv (also .gz) or .parquet; a .toml of the same stem beside it may give task, measurement,
            direction, study, essential (a path) and name.
        duplicates: what to do when one symbol has two different scores.
        essential: a CSV with a gene column; wins over the side file's.
        told: task, measurement, direction, study or name that win over the side file.

    Raises:
        BadScreenError: naming the file, the column and the first bad line.
    """
    table = read_table(path)
    facts = _sidecar(path) | {k: v for k, v in told.items() if v is not None}
    names = _names(table, path)
    scores = _numbers(table, "score", path)
    hits = _flags(table, "hit", path) if "hit" in table else None
    control = _controls(table, names, path)
    kept, notes = _merged(names, scores, hits, control, duplicates, path)
    symbols = tuple(sorted(kept))
    library = Library(
        name=str(facts.get("name") or _stem(path)),
        symbols=symbols,
        task=str(facts.get("task", "")),
        direction=_direction(facts.get("direction", "abs"), path),
        measurement=str(facts.get("measurement", "")),
        study=facts.get("study"),
        essential=_essential(essential or _beside(path, facts.get("essential"))),
        control_scores=() if "gene_a" in table else tuple(scores[control].tolist()),
        notes=tuple(notes),
        pairs="gene_a" in table,
    )
    values = np.array([kept[s][0] for s in symbols])
    return Screen(
        library, values, None if hits is None else np.array([kept[s][1] for s in symbols], dtype=bool)
    )


def read_library(path: Path, **told: Any) -> Library:
    """Only the genes (or pairs) of a file; a score column, if any, is not read."""
    table = read_table(path)
    facts = _sidecar(path) | {k: v for k, v in told.items() if v is not None}
    names = _names(table, path)
    control = _controls(table, names, path)
    symbols = tuple(sorted({n for n, c in zip(names, control, strict=True) if not c}))
    return Library(
        name=str(facts.get("name") or _stem(path)),
        symbols=symbols,
        task=str(facts.get("task", "")),
        direction=_direction(facts.get("direction", "abs"), path),
        measurement=str(facts.get("measurement", "")),
        study=facts.get("study"),
        essential=_essential(_beside(path, facts.get("essential"))),
        pairs="gene_a" in table,
    )


def read_answers(path: Path, *, duplicates: Duplicates = "refuse") -> Answers:
    """Results of earlier batches: gene (or gene_a, gene_b), score and, if called, hit."""
    table = read_table(path)
    names = _names(table, path)
    scores = _numbers(table, "score", path)
    hits = _flags(table, "hit", path) if "hit" in table else None
    kept, _ = _merged(names, scores, hits, np.zeros(len(names), dtype=bool), duplicates, path)
    genes = tuple(kept)
    values = np.array([kept[g][0] for g in genes])
    return Answers(genes, values, None if hits is None else np.array([kept[g][1] for g in genes], dtype=bool))


def shared_folder() -> Path:
    """Where the shared screens lie: AGENTKIT_SCREEN_DATA, or gene_screens in AGENTKIT_SHARED_DATA (../shared/data).

    Raises:
        TargetUnavailableError: when the folder is absent, with the next step.
    """
    base = Path(os.environ.get("AGENTKIT_SHARED_DATA", "../shared/data"))
    folder = Path(os.environ.get("AGENTKIT_SCREEN_DATA", base / "gene_screens")).expanduser()
    if not (folder / "screens").is_dir():
        raise TargetUnavailableError(f"gene screens not found at {folder}; set AGENTKIT_SCREEN_DATA")
    return folder


def read_shared(name: str) -> Screen:
    """A shared screen by name, with its task, direction and study, and the core-essential list beside it."""
    folder = shared_folder()
    path = folder / "screens" / f"{name}.csv.gz"
    if not path.is_file():
        known = [p.name.removesuffix(".csv.gz") for p in (folder / "screens").glob("*.csv.gz")]
        raise TargetUnavailableError(unknown("screen", name, known, hint=f"(in {folder / 'screens'})"))
    facts = json.loads((folder / "tasks.json").read_text()).get(name, {})
    direction, study = SHARED_SCREENS.get(name, ("abs", name))
    return read_screen(
        path,
        essential=folder / "core_essential_CEGv2.csv",
        task=facts.get("task"),
        measurement=facts.get("measurement"),
        direction=direction,
        study=study,
        name=name,
    )


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _sidecar(path: Path) -> dict[str, Any]:
    side = path.with_name(_stem(path) + ".toml")
    if not side.is_file():
        return {}
    try:
        facts = tomllib.loads(read_text(side))
    except tomllib.TOMLDecodeError as error:
        raise BadScreenError(f"{side}: {error}") from None
    for key in facts:
        if key not in SIDECAR_KEYS:
            raise BadScreenError(f"{side}: {unknown('key', key, SIDECAR_KEYS)}")
    return facts


def _beside(path: Path, name: object) -> Path | None:
    return None if name is None else path.parent / str(name)


def _direction(value: object, path: Path) -> Direction:
    if value not in get_args(Direction):
        raise BadScreenError(f"{path}: direction {value!r}; say abs, high or low")
    return value  # type: ignore[return-value]  # just checked


def _essential(path: Path | None) -> frozenset[str] | None:
    if path is None:
        return None
    table = read_table(path)
    if "gene" not in table:
        raise BadScreenError(f"{path}: no gene column in the list of essential genes")
    return frozenset(table["gene"])


def _names(table: Table, path: Path) -> list[str]:
    if "gene_a" in table and "gene_b" in table:
        both = list(zip(table["gene_a"], table["gene_b"], strict=True))
        for line, pair in enumerate(both, start=2):
            if not all(pair) or PAIR_SIGN in "".join(pair):
                raise BadScreenError(f"{path}: line {line}: {pair} is no pair of gene symbols")
        return [PAIR_SIGN.join(sorted(pair)) for pair in both]
    if "gene" not in table:
        raise BadScreenError(f"{path}: no gene column (has {', '.join(table)})")
    for line, gene in enumerate(table["gene"], start=2):
        if not gene:
            raise BadScreenError(f"{path}: column gene, line {line}: empty")
    return table["gene"]


def _numbers(table: Table, column: str, path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    if column not in table:
        raise BadScreenError(f"{path}: no {column} column (has {', '.join(table)})")
    out = np.empty(len(table[column]))
    for i, text in enumerate(table[column]):
        try:
            out[i] = float(text)
        except ValueError:
            raise BadScreenError(f"{path}: column {column}, line {i + 2}: {text!r} is no number") from None
        if not math.isfinite(out[i]):
            raise BadScreenError(f"{path}: column {column}, line {i + 2}: {text!r} is not finite")
    if not len(out):
        raise BadScreenError(f"{path}: no rows below the header")
    return out


def _flags(table: Table, column: str, path: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
    for i, text in enumerate(table[column]):
        if text.lower() not in TRUE | FALSE:
            raise BadScreenError(f"{path}: column {column}, line {i + 2}: {text!r} is neither 0 nor 1")
    return np.array([text.lower() in TRUE for text in table[column]])


def _controls(table: Table, names: list[str], path: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Rows that are no candidates: marked controls, and pairs of a gene with a negative control."""
    if "control" in table:
        return _flags(table, "control", path)
    if "gene_a" in table:
        return np.array([PAIR_CONTROL in n.split(PAIR_SIGN) for n in names])
    return np.zeros(len(names), dtype=bool)


def _merged(
    names: list[str],
    scores: np.ndarray[Any, np.dtype[np.float64]],
    hits: np.ndarray[Any, np.dtype[np.bool_]] | None,
    control: np.ndarray[Any, np.dtype[np.bool_]],
    duplicates: Duplicates,
    path: Path,
) -> tuple[dict[str, tuple[float, bool]], list[str]]:
    """(score, hit) by symbol; equal repeats collapse, differing ones are refused or averaged (hit if any was)."""
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if not control[i]:
            rows.setdefault(name, []).append(i)
    notes = []
    for name, lines in rows.items():
        if len(lines) > 1:
            if (
                len({(scores[i], bool(hits[i]) if hits is not None else None) for i in lines}) > 1
                and duplicates != "mean"
            ):
                where = ", ".join(str(i + 2) for i in lines)
                raise BadScreenError(
                    f"{path}: {name} comes with different results on lines {where}; average them, or say duplicates=mean"
                )
            notes.append(f"{name} came {len(lines)} times")
    return {
        name: (float(scores[lines].mean()), hits is not None and bool(hits[lines].any()))
        for name, lines in rows.items()
    }, notes
