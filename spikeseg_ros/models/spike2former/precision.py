# SPDX-License-Identifier: Apache-2.0
"""What half precision does to the mask: measured, since neurons round."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spikeseg_ros.models.spike2former.network import Spike2Former


class PrecisionEffect(NamedTuple):
    """Difference between a network in two precisions.

    Attributes:
        pixels: Pixels compared.
        same: Share of pixels of the same class.
        difference: Largest difference of a segmentation logit.
    """

    pixels: int
    same: float
    difference: float


def logits_in(network: Spike2Former, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `network.logits(x)` with convolutions and products in another precision.

    Sums of residuals, attention and sampling keep 32 bits. The weights stay float32 and are
    converted on the way; a network of half-precision weights is not supported.

    Args:
        network: A network in float32.
        x: Normalised images (B, 3, H, W).
        dtype: float16, bfloat16, or float32 for no change.
    """
    with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        return network.logits(x).float()


def compare_precision(
    network: Spike2Former, images: Iterable[Tensor], dtype: torch.dtype
) -> PrecisionEffect:
    """Return what a precision changes against float32.

    Args:
        network: A network in float32, in evaluation mode.
        images: Normalised images, each (B, 3, H, W).
        dtype: As `logits_in`.
    """
    pixels, same, difference = 0, 0, 0.0
    with torch.inference_mode():
        for x in images:
            want, got = network.logits(x), logits_in(network, x, dtype)
            equal = want.argmax(1) == got.argmax(1)
            pixels += equal.numel()
            same += int(equal.sum())
            difference = max(difference, float((want - got).abs().max()))
    return PrecisionEffect(pixels, same / max(1, pixels), difference)
