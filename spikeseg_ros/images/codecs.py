# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays and back, without ROS.

Anything with the fields of ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage`` is taken:
rclpy messages, messages read from a recording, or plain objects. Step and byte order are
honoured and every length is checked before a byte is read. cv_bridge does the work where it is
installed and agrees with the table below; everywhere else the table stands on its own.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.images.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

try:
    from cv_bridge import CvBridge
except Exception:  # A cv_bridge built for another numpy fails with anything, not only ImportError.
    CvBridge = None

MAX_SIDE = 16384
MAX_COMPRESSED = 256 << 20


class Encoding(NamedTuple):
    """Layout of one pixel.

    Attributes:
        dtype: Type of a channel in the machine's byte order.
        channels: Number of channels.
        order: Meaning of the channels: 'gray', 'rgb', 'bgr', 'rgba', 'bgra'.
    """

    dtype: str
    channels: int
    order: str


ENCODINGS: dict[str, Encoding] = {
    'mono8': Encoding('uint8', 1, 'gray'),
    'mono16': Encoding('uint16', 1, 'gray'),
    'rgb8': Encoding('uint8', 3, 'rgb'),
    'bgr8': Encoding('uint8', 3, 'bgr'),
    'rgba8': Encoding('uint8', 4, 'rgba'),
    'bgra8': Encoding('uint8', 4, 'bgra'),
    '8UC1': Encoding('uint8', 1, 'gray'),
    '8UC3': Encoding('uint8', 3, 'bgr'),
    '16UC1': Encoding('uint16', 1, 'gray'),
    '32FC1': Encoding('float32', 1, 'gray'),
}


def image_to_array(message: Any, *, bridge: bool = True) -> NDArray[Any]:
    """Return the pixels of an Image message as they are.

    Args:
        message: Object with height, width, encoding, is_bigendian, step and data.
        bridge: Use cv_bridge where it is installed; the result is the same.

    Returns:
        Array of shape (H, W) or (H, W, C) in the message's encoding, machine byte order; a
        view of the message's data where no conversion was needed.

    Raises:
        ImageError: The encoding is unknown, or size, step and data do not fit together.
    """
    layout = _layout(message.encoding)
    height, width = _checked_size(message.height, message.width)
    kind = np.dtype(layout.dtype)
    row = width * layout.channels * kind.itemsize
    step = int(message.step)
    if step < row:
        msg = (
            f'Image step is {step!r} bytes, but {width} pixels of {message.encoding!r} take '
            f'{row}; the publisher must set step = width * bytes per pixel or more.'
        )
        raise ImageError(msg)
    data = np.frombuffer(memoryview(message.data), np.uint8)
    needed = step * (height - 1) + row
    if data.size < needed:
        msg = (
            f'Image data has {data.size} bytes, but {height} rows of step {step} need {needed}; '
            'the message was cut off or its step is wrong.'
        )
        raise ImageError(msg)
    foreign = bool(message.is_bigendian) != (sys.byteorder == 'big') and kind.itemsize > 1
    if bridge and CvBridge is not None and not foreign and data.size == step * height:
        with suppress(Exception):
            found = np.asarray(CvBridge().imgmsg_to_cv2(message, 'passthrough'))
            return found.reshape(_shape(height, width, layout))
    rows = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)
    if step != row or rows.ctypes.data % kind.itemsize:
        rows = np.ascontiguousarray(rows)
    pixels = rows.view(kind.newbyteorder('S')).astype(kind) if foreign else rows.view(kind)
    return pixels.reshape(_shape(height, width, layout))


def image_to_rgb(message: Any, *, bridge: bool = True) -> NDArray[np.uint8]:
    """Return an Image message as colour image.

    16-bit images are shown by their upper byte, float images from 0 (black) to 1 (white).

    Args:
        message: Object with the fields of sensor_msgs/Image.
        bridge: Use cv_bridge where it is installed.

    Returns:
        Array of shape (H, W, 3), uint8, red-green-blue, owned by the caller.

    Raises:
        ImageError: As image_to_array.
    """
    return to_rgb(image_to_array(message, bridge=bridge), str(message.encoding))


def to_rgb(pixels: NDArray[Any], encoding: str) -> NDArray[np.uint8]:
    """Convert pixels of an encoding to a new (H, W, 3) uint8 red-green-blue array."""
    layout = _layout(encoding)
    if layout.dtype == 'uint16':
        pixels = (pixels >> 8).astype(np.uint8)
    elif layout.dtype == 'float32':
        finite = np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)
        pixels = np.rint(np.clip(finite, 0.0, 1.0) * 255.0).astype(np.uint8)
    if layout.order == 'gray':
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if layout.order in ('bgr', 'bgra'):
        return np.ascontiguousarray(pixels[:, :, 2::-1])
    return np.array(pixels[:, :, :3], order='C')


def compressed_to_rgb(message: Any) -> NDArray[np.uint8]:
    """Decode a CompressedImage message (JPEG, PNG and whatever else OpenCV reads).

    Args:
        message: Object with format and data.

    Returns:
        Array of shape (H, W, 3), uint8, red-green-blue.

    Raises:
        ImageError: The data are empty, too large or no image.
    """
    data = np.frombuffer(memoryview(message.data), np.uint8)
    kind = str(message.format)
    if not 0 < data.size <= MAX_COMPRESSED:
        msg = (
            f'Compressed image of format {kind!r} has {data.size} bytes; 1 .. {MAX_COMPRESSED} '
            'can be decoded.'
        )
        raise ImageError(msg)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as err:
        pixels, reason = None, f' ({err})'
    else:
        reason = ''
    if pixels is None:
        msg = (
            f'Compressed image of format {kind!r} ({data.size} bytes) cannot be decoded{reason}; '
            'publish jpeg or png (depth and theora streams are not images of this kind).'
        )
        raise ImageError(msg)
    return np.ascontiguousarray(pixels[:, :, ::-1])


def array_to_bytes(pixels: NDArray[Any], encoding: str) -> tuple[int, bytes]:
    """Return (step, data) of an image, as sensor_msgs/Image wants them on this machine.

    Args:
        pixels: Shape (H, W) or (H, W, C), in the encoding's type.
        encoding: One of ENCODINGS.

    Raises:
        ImageError: Shape or type do not fit the encoding.
    """
    layout = _layout(encoding)
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.ndim not in (2, 3) or channels != layout.channels or pixels.dtype != layout.dtype:
        msg = (
            f'Encoding {encoding!r} needs {layout.channels} channels of {layout.dtype}, got an '
            f'array of shape {pixels.shape!r} and type {str(pixels.dtype)!r}.'
        )
        raise ImageError(msg)
    return pixels.shape[1] * channels * pixels.dtype.itemsize, pixels.tobytes()


def compress(rgb: NDArray[np.uint8], kind: str = 'jpeg', quality: int = 90) -> bytes:
    """Encode a (H, W, 3) red-green-blue image as 'jpeg' or 'png'.

    Raises:
        ImageError: The kind is unknown or the array is no colour image.
    """
    suffixes = {'jpeg': '.jpg', 'png': '.png'}
    if kind not in suffixes or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        msg = (
            f'Cannot encode an array of shape {rgb.shape!r} and type {str(rgb.dtype)!r} as '
            f'{kind!r}; give (H, W, 3) uint8 and one of {", ".join(suffixes)}.'
        )
        raise ImageError(msg)
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == 'jpeg' else []
    _done, data = cv2.imencode(suffixes[kind], rgb[:, :, ::-1], flags)
    return bytes(data.tobytes())


def _layout(encoding: object) -> Encoding:
    """Look an encoding up."""
    layout = ENCODINGS.get(str(encoding))
    if layout is None:
        msg = (
            f'Image encoding {encoding!r} is not supported; convert to one of '
            f'{", ".join(ENCODINGS)} or use the compressed topic.'
        )
        raise ImageError(msg)
    return layout


def _checked_size(height: Any, width: Any) -> tuple[int, int]:
    """Check the size of an image."""
    rows, columns = int(height), int(width)
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        msg = f'Image of {columns!r} x {rows!r} pixels; each side must lie in 1 .. {MAX_SIDE}.'
        raise ImageError(msg)
    return rows, columns


def _shape(height: int, width: int, layout: Encoding) -> tuple[int, ...]:
    """Return the array shape of an image."""
    return (height, width) if layout.channels == 1 else (height, width, layout.channels)
