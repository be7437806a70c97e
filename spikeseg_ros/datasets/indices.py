# SPDX-License-Identifier: Apache-2.0
"""Label images: PNG files whose pixels are class indices."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.datasets.base import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

_PNG = b'\x89PNG\r\n\x1a\n'
_GRAY, _PALETTE = 0, 3  # colour types in the header of a PNG


def read_indices(path: Path) -> Bytes:
    """Return the class indices of a label image, shape (H, W).

    Raises:
        DatasetError: The file is missing or no image of indices.
    """
    try:
        content = path.read_bytes()
    except OSError as err:
        msg = f'Cannot read the label {str(path)!r}: {err}; copy the data set again.'
        raise DatasetError(msg) from None
    head = content[:8], content[12:16]
    if head != (_PNG, b'IHDR') or content[25:26] not in (bytes([_GRAY]), bytes([_PALETTE])):
        msg = f'The label {str(path)!r} is no PNG of class indices (palette or 8-bit gray).'
        raise DatasetError(msg)
    values = cv2.imdecode(np.frombuffer(_as_gray(content), np.uint8), cv2.IMREAD_GRAYSCALE)
    if values is None:
        msg = f'The label {str(path)!r} is damaged; copy the data set again.'
        raise DatasetError(msg)
    # Fewer bits than 8 come spread over 0 .. 255.
    spread = 255 // (2 ** min(content[24], 8) - 1)
    indices: Bytes = (values // spread).astype(np.uint8)
    return indices


def _as_gray(content: bytes) -> bytes:
    """Return a palette PNG as a gray one, because OpenCV would apply the palette."""
    header = content[12:25] + bytes([_GRAY]) + content[26:29]
    parts = [content[:12], header, zlib.crc32(header).to_bytes(4, 'big')]
    at = 33
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], 'big')
        if content[at + 4 : at + 8] in (b'IDAT', b'IEND'):
            parts.append(content[at:end])
        at = end
    return b''.join(parts)
