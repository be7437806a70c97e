# SPDX-License-Identifier: Apache-2.0
"""Camera images: message codecs, resizing, colours and overlays."""

from spikeseg_ros.images.codecs import (
    ENCODINGS,
    array_to_bytes,
    compress,
    compressed_to_rgb,
    image_to_array,
    image_to_rgb,
)
from spikeseg_ros.images.colors import class_color, colorize, palette, track_color
from spikeseg_ros.images.errors import ImageError
from spikeseg_ros.images.overlay import contact_sheet, render_events, render_overlay
from spikeseg_ros.images.resize import Letterbox, letterbox, restore_mask

__all__ = [
    'ENCODINGS',
    'ImageError',
    'Letterbox',
    'array_to_bytes',
    'class_color',
    'colorize',
    'compress',
    'compressed_to_rgb',
    'contact_sheet',
    'image_to_array',
    'image_to_rgb',
    'letterbox',
    'palette',
    'render_events',
    'render_overlay',
    'restore_mask',
    'track_color',
]
