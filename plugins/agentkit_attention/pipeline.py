"""Any diffusers pipeline built around one transformer (DiT, PixArt, SD3, FLUX), drawing with its own loop.

The pipeline is called as a user would call it: its text encoders, scheduler and decoder are its own. Only the
calls of its transformer can be looked at, through hooks that the guidance places.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from agentkit.errors import MissingExtraError, ParamError, TargetError, TargetUnavailableError
from agentkit_attention.pipeline_folder import pipeline_folder, split_uri
from agentkit_attention.quiet import no_progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

QUIET = {"clean_caption": False, "use_resolution_binning": False}
"""Options that would change prompts or sizes behind the user's back, where a pipeline has them."""


class _SeenError(Exception):
    """Ends a pipeline's run once the arguments of its transformer are known."""


class DiffusersPipeline:
    """Draws what a pipeline draws.

    Attributes:
        pipe: the pipeline, untouched.
        model: its transformer.
        device: where it lives.
        by_labels: it is told classes instead of prompts.
        uri: what messages call it.
    """

    def __init__(self, folder: Path, device: str, uri: str, pixels: int | None = None) -> None:
        from diffusers import DiffusionPipeline

        with no_progress_bar():
            self.pipe: Any = DiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]  # diffusers is untyped
                folder, local_files_only=True, torch_dtype=torch.float32
            ).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.model: Any = self.pipe.transformer.eval().requires_grad_(False)
        self.device, self.uri, self.pixels = device, uri, pixels
        self._takes = inspect.signature(type(self.pipe).__call__).parameters
        self.by_labels = "class_labels" in self._takes
        self._seen: Mapping[str, Any] | None = None
        if pixels is not None and "height" not in self._takes:
            raise TargetError(
                f"{uri}: a {type(self.pipe).__name__} draws at one size only; leave out @{pixels}"
            )

    def example(self, seed: int) -> dict[str, Any]:
        """Arguments of the transformer for one noisy image; the seed changes the image alone."""
        if self._seen is None:
            self._seen = self._first_arguments()
        size = self._seen["hidden_states"].shape
        image = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        return {**self._seen, "hidden_states": image.to(self.device)}

    def sample(
        self,
        generator: torch.Generator,
        n: int,
        *,
        steps: int,
        cfg: float,
        labels: Sequence[int] | None,
        prompts: Sequence[str] | None,
    ) -> Tensor:
        """Images [n, channels, height, width] in [0, 1], on the CPU.

        Args:
            generator: draws the noise, on the CPU.
            n: how many; labels or prompts are used in turn.
            steps: steps of the pipeline's scheduler.
            cfg: classifier-free guidance beyond the conditional prediction: the pipeline's scale is 1 + cfg.
            labels: classes, for a pipeline that is told classes.
            prompts: texts, for one that reads texts; the empty text when None.

        Raises:
            ParamError: labels for a pipeline that reads prompts, or the other way round, or no labels.
        """
        told = self._told(n, labels, prompts)
        options: dict[str, Any] = {k: v for k, v in QUIET.items() if k in self._takes}
        if self.pixels is not None:
            options |= {"height": self.pixels, "width": self.pixels}
        drawn = self.pipe(
            **told, **options, num_inference_steps=steps, guidance_scale=1.0 + cfg, generator=generator, output_type="np"
        ).images  # fmt: skip
        return torch.from_numpy(drawn).permute(0, 3, 1, 2).float()

    def _told(self, n: int, labels: Sequence[int] | None, prompts: Sequence[str] | None) -> dict[str, Any]:
        if self.by_labels:
            if prompts is not None or not labels:
                raise ParamError(f"{self.uri} draws classes: give labels (labels: [0, 1]), not prompts")
            classes = int(getattr(self.model.config, "num_embeds_ada_norm", None) or 1000)
            if not all(0 <= label < classes for label in labels):
                raise ParamError(f"labels {list(labels)}: {self.uri} draws classes 0 to {classes - 1}")
            return {"class_labels": [labels[i % len(labels)] for i in range(n)]}
        if labels is not None:
            raise ParamError(f"{self.uri} reads prompts: give prompts (prompts: [a red cat]), not labels")
        texts = prompts or ("",)
        return {"prompt": [texts[i % len(texts)] for i in range(n)]}

    def _first_arguments(self) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            names = list(inspect.signature(type(module).forward).parameters)[1:]
            seen.update(dict(zip(names, args, strict=False)) | kwargs)
            raise _SeenError

        handle = self.model.register_forward_pre_hook(look, with_kwargs=True)
        labels = (0,) if self.by_labels else None
        try:
            self.sample(torch.Generator().manual_seed(0), 1, steps=1, cfg=0.0, labels=labels, prompts=None)
        except _SeenError:
            pass
        finally:
            handle.remove()
        return seen


def load_pipeline(rest: str, device: str) -> DiffusersPipeline:
    """The pipeline behind `diffusers:REST`; raises as the target says."""
    uri = f"diffusers:{rest}"
    try:
        return DiffusersPipeline(pipeline_folder(rest), device, uri, split_uri(rest)[1])
    except ImportError as error:
        raise MissingExtraError(
            f"{uri}: needs {error.name or 'another package'}; run: pip install 'agentkit-perturb[diffusion,text]'"
        ) from None
    except (OSError, ValueError) as error:
        raise TargetUnavailableError(f"{uri}: {' '.join(str(error).split())}") from None
