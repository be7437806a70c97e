# SPDX-License-Identifier: Apache-2.0
"""Images as spikes: local contrast in rank order, for networks that were made for events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Widths of the two Gaussians of the retina-like filter [px] (Kheradpisheh et al. 2018).
SIGMAS = (1.0, 2.0)
# Contrast, in grey levels of 255, below which a pixel stays silent.
FLOOR = 4.0


def contrast_spikes(
    image: NDArray[np.uint8], steps: int, polarities: int = 2
) -> NDArray[np.uint8]:
    """Return an image as spikes: strong contrast first, every pixel at most once per polarity.

    The difference of two Gaussians is split into ON (brighter than around) and OFF (darker).
    Pixels are ordered by contrast and spread over the steps in equal numbers (rank-order
    latency); pixels below a floor stay silent.

    Args:
        image: Pixels, shape (H, W, 3), uint8, red-green-blue.
        steps: Number of steps T.
        polarities: 2 = OFF and ON in channels 0 and 1, 1 = both in one channel.

    Returns:
        Spikes, shape (T, H, W, P), uint8, 0 or 1.

    Source: Kheradpisheh et al. 2018, section 2.1.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    narrow, wide = (cv2.GaussianBlur(gray, (0, 0), sigma) for sigma in SIGMAS)
    contrast = narrow - wide
    spikes = np.zeros((steps, *gray.shape, polarities), np.uint8)
    rows, columns = np.nonzero(np.abs(contrast) >= FLOOR)
    values = contrast[rows, columns]
    order = np.argsort(-np.abs(values), kind='stable')
    rows, columns, values = rows[order], columns[order], values[order]
    step = np.arange(len(rows)) * steps // max(1, len(rows))
    channel = (values > 0).astype(np.intp) if polarities == 2 else np.zeros(len(rows), np.intp)
    spikes[step, rows, columns, channel] = 1
    return spikes
