"""EfficientNet-Lite0 as a loader of published weights: the weights' package holds no architecture.

Tan and Le, arXiv 1905.11946, in the "lite" form: no squeeze-and-excitation, ReLU6, fixed stem and head.
Inputs are images in [0, 1]; they are normalised inside, as (x - 127/255) / (128/255).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (
    (1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1),
)  # fmt: skip
"""Expansion, kernel, stride of the first block, channels in and out, blocks."""

BATCH_NORM_EPS = 1e-3
MEAN, SPREAD = 127 / 255, 128 / 255


class SameConv(nn.Conv2d):
    """Convolution that pads as TensorFlow's "same": the output has ceil(size / stride) places."""

    def forward(self, x: Tensor) -> Tensor:
        """Pads on the right and below where the total is odd."""
        pads = [_total_pad(x.shape[d], self.kernel_size[d - 2], self.stride[d - 2]) for d in (3, 2)]
        padded = nn.functional.pad(x, [p for total in pads for p in (total // 2, total - total // 2)])
        found: Tensor = super().forward(padded)
        return found


def _total_pad(size: int, kernel: int, stride: int) -> int:
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


class Block(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shape stays."""

    def __init__(self, expansion: int, kernel: int, stride: int, before: int, after: int) -> None:
        super().__init__()
        wide = before * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(before, wide, 1, bias=False), _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = SameConv(wide, after, 1, bias=False), _norm(after)
        self._expands, self._shortcut = expansion > 1, stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Shape (rows, before, h, w) to (rows, after, h / stride, w / stride)."""
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = self._bn2(self._project_conv(nn.functional.relu6(self._bn1(self._depthwise_conv(y)))))
        found: Tensor = x + y if self._shortcut else y
        return found


class EfficientNetLite0(nn.Module):
    """1,000 ImageNet classes from images of shape (rows, 3, 224, 224) in [0, 1]; names are those of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2, bias=False), _norm(STEM)
        self._blocks = nn.ModuleList(
            Block(expansion, kernel, stride if i == 0 else 1, before if i == 0 else after, after)
            for expansion, kernel, stride, before, after, count in STAGES
            for i in range(count)
        )
        self._conv_head, self._bn1 = SameConv(STAGES[-1][4], HEAD, 1, bias=False), _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (rows, 1000)."""
        x = ((x - MEAN) / SPREAD).contiguous(memory_format=torch.channels_last)
        x = nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = nn.functional.relu6(self._bn1(self._conv_head(x)))
        found: Tensor = self._fc(x.mean(dim=(2, 3)))
        return found


def load(path: Path, device: str) -> EfficientNetLite0:
    """The network with published weights, in evaluation mode, its parameters frozen."""
    net = EfficientNetLite0()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    for weight in net.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return net.eval().requires_grad_(requires_grad=False).to(device)
