"""What a loaded target is, seen from here: its module, a small input for it, its heads, its image rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn

from agentkit.errors import AgentkitError, TargetError
from agentkit_attention.intercept import watching
from agentkit_attention.sites import SiteTable, find_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agentkit_attention.calls import AttentionCall, SiteKey
    from agentkit_attention.sites import Site

TEXT_SEEN = "a few words to look at"
_known: WeakKeyDictionary[nn.Module, Described] = WeakKeyDictionary()


@dataclass
class Described:
    """One model with its heads.

    Attributes:
        model: the untouched module.
        example: `example(seed)` gives keyword arguments of the module; another seed changes the image alone.
        table: its attention sites.
        rows: (start, stop) of the image rows of each site that has some.
    """

    model: nn.Module
    example: Callable[[int], Mapping[str, Any]]
    table: SiteTable
    rows: dict[SiteKey, tuple[int, int]] = field(default_factory=dict)

    def image_rows(self, site: Site) -> tuple[int, int] | None:
        """First and one past the last row of image tokens in this site's queries, or None."""
        return self.rows.get(site.key)

    def joint(self, site: Site) -> bool:
        """Whether image rows and text rows share this site's attention."""
        rows = self.image_rows(site)
        return rows is not None and rows[1] - rows[0] < site.queries


def describe(target: Any) -> Described:
    """The heads of a loaded target, found once per model.

    A target is a module that knows its own dummy inputs, or an object with `.model` and either
    `inputs(texts)` (text) or `example(seed)` (anything else).

    Raises:
        TargetError: there is no module in it, or nothing to feed it with.
    """
    model = target if isinstance(target, nn.Module) else getattr(target, "model", None)
    if not isinstance(model, nn.Module):
        raise TargetError(
            f"a {type(target).__name__} holds no model whose attention could be perturbed; "
            "give a module, or an object with .model and .inputs(texts) or .example(seed)"
        )
    if model not in _known:
        require_one_device(model)
        example = _example_of(target, model)
        try:
            table = find_sites(model, lambda: model(**example(0)))
            rows = _image_rows(model, example, table)
        except AgentkitError:
            raise
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            raise TargetError(
                f"{type(model).__name__} did not run on a small input made for it "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}); wrap it in an object with .model "
                "and .example(seed), which returns keyword arguments of the model"
            ) from None
        _known[model] = Described(model, example, table, rows)
    return _known[model]


def require_one_device(model: nn.Module) -> None:
    """Refuse weights that lie apart, or nowhere; a model that Accelerate spread over devices moves its own inputs.

    Raises:
        TargetError: with a weight of each device.
    """
    first = {p.device: name for name, p in reversed(list(model.named_parameters()))}
    absent = next((name for device, name in first.items() if device.type == "meta"), None)
    if absent is not None:
        raise TargetError(
            f"{type(model).__name__}: {absent} holds no numbers (device meta); load its weights"
        )
    if len(first) > 1 and not hasattr(model, "hf_device_map"):
        places = ", ".join(f"{name} on {device}" for device, name in first.items())
        raise TargetError(
            f"{type(model).__name__} lies on several devices: {places}; move it whole: model.to(...)"
        )


def _example_of(target: Any, model: nn.Module) -> Callable[[int], Mapping[str, Any]]:
    if hasattr(target, "example"):
        return cast("Callable[[int], Mapping[str, Any]]", target.example)
    if hasattr(target, "inputs"):
        return lambda seed: cast("Mapping[str, Any]", target.inputs([TEXT_SEEN]))
    if hasattr(model, "dummy_inputs"):
        return lambda seed: _dummy(model, seed)
    raise TargetError(
        f"{type(model).__name__} is not a known kind of model: wrap it in an object with .model and "
        ".example(seed), which returns keyword arguments of the model for a small input"
    )


def _dummy(model: Any, seed: int) -> dict[str, Any]:
    """Small inputs of a Hugging Face model, text or pixels."""
    config, device = model.config, next(model.parameters()).device
    if getattr(model, "main_input_name", "input_ids") == "input_features":
        return _sound(config, device, seed)
    if getattr(model, "main_input_name", "input_ids") == "pixel_values":
        size = getattr(config, "image_size", 32)
        height, width = (size, size) if isinstance(size, int) else size
        g = torch.Generator().manual_seed(seed)
        pixels = torch.randn(1, getattr(config, "num_channels", 3), height, width, generator=g)
        return {"pixel_values": pixels.to(device)}
    tokens = torch.arange(3, 11, device=device)[None] % config.get_text_config().vocab_size
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = tokens[:, :5]
    return inputs


def _sound(config: Any, device: torch.device, seed: int) -> dict[str, Any]:
    """Log-mel features of as many frames as the encoder takes, and some tokens where there is a decoder."""
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(1, config.num_mel_bins, 2 * config.max_source_positions, generator=g).to(device)
    inputs = {"input_features": features}
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = torch.arange(3, 8, device=device)[None]
    return inputs


def _image_rows(
    model: nn.Module, example: Callable[[int], Mapping[str, Any]], table: SiteTable
) -> dict[SiteKey, tuple[int, int]]:
    """Rows of V that change with the image, in the first attention of each length.

    Later attention mixes text and image, so the first one tells for all that share its length and order.
    """
    seen: list[dict[SiteKey, torch.Tensor]] = []
    for seed in (0, 1):
        values: dict[SiteKey, torch.Tensor] = {}

        def note(call: AttentionCall, values: dict[SiteKey, torch.Tensor] = values) -> None:
            if call.v is not None and call.q is not None and call.q.shape[2] == call.v.shape[2]:
                values[call.site] = call.v[0]

        with torch.no_grad(), watching(model, note, early_bound=table.early_bound):
            model(**example(seed))
        seen.append(values)
    found: dict[SiteKey, tuple[int, int]] = {}
    by_length: dict[int, tuple[int, int] | None] = {}
    for site in table.sites:
        if site.key not in seen[0] or site.queries != site.keys:
            continue
        if site.queries not in by_length:
            changed = (seen[0][site.key] != seen[1][site.key]).any(-1).any(0).nonzero().flatten().tolist()
            contiguous = bool(changed) and changed == list(range(changed[0], changed[-1] + 1))
            by_length[site.queries] = (changed[0], changed[-1] + 1) if contiguous else None
        if (rows := by_length[site.queries]) is not None:
            found[site.key] = rows
    return found
