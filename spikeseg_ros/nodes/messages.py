# SPDX-License-Identifier: Apache-2.0
"""The only translation between ROS messages and the core's data.

Bulk data go through array.array.frombytes or a buffer view, never through the field setters,
which copy element by element for most types.
"""

from __future__ import annotations

import zlib
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from spikeseg_ros import msg
from spikeseg_ros.events.types import Packet
from spikeseg_ros.images import array_to_bytes
from spikeseg_ros.perception import wire
from spikeseg_ros.perception.image_stream import read_image
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel
from spikeseg_ros.perception.wire import to_nanoseconds as to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms import BoundingBox, Instance
    from spikeseg_ros.perception.segmenter import ImageFrame

NO_OBJECT = 0xFFFFFFFF


class MessageError(ValueError):
    """A message cannot be used; the text names the bad value and what to do."""


def to_time(nanoseconds: int) -> Time:
    """Return nanoseconds as Time, held within what its 32 bits can say."""
    return Time(**wire.time_fields(nanoseconds))


def to_duration(nanoseconds: int) -> Duration:
    """Return nanoseconds as Duration."""
    return Duration(**wire.time_fields(nanoseconds))


def to_packet(message: Any, arrival: int = 0) -> Packet:
    """Return an EventPacket message as Packet; the payload is not copied.

    Args:
        message: event_camera_msgs/EventPacket.
        arrival: Steady-clock time of its reception [ns].
    """
    return Packet(
        payload=memoryview(message.events),
        encoding=message.encoding,
        width=message.width,
        height=message.height,
        stamp=to_nanoseconds(message.header.stamp),
        seq=message.seq,
        time_base=message.time_base,
        frame_id=message.header.frame_id,
        arrival=arrival,
    )


def to_packet_message(packet: Packet) -> Any:
    """Return a Packet as event_camera_msgs/EventPacket."""
    from event_camera_msgs.msg import EventPacket

    message = EventPacket()
    message.header = _header(packet.stamp, packet.frame_id)
    message.height, message.width = packet.height, packet.width
    message.seq, message.time_base = packet.seq, packet.time_base
    message.encoding = packet.encoding
    message.events.frombytes(np.frombuffer(packet.payload, np.uint8).tobytes())
    return message


def to_image_frame(message: Any, arrival: int = 0) -> ImageFrame:
    """Return a sensor_msgs Image or CompressedImage as ImageFrame.

    Raises:
        ImageError: The message is no image that can be read.
    """
    return read_image(message, packed=not isinstance(message, Image), arrival=arrival)


def to_image_message(
    pixels: NDArray[Any], stamp: int, frame_id: str, encoding: str = 'rgb8'
) -> Image:
    """Return pixels as sensor_msgs/Image.

    Args:
        pixels: Shape (H, W) or (H, W, C) in the encoding's type.
        stamp: ROS time [ns].
        frame_id: Frame of the header.
        encoding: One of images.ENCODINGS.

    Raises:
        ImageError: Shape or type do not fit the encoding.
    """
    step, data = array_to_bytes(pixels, encoding)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=step)
    message.header = _header(stamp, frame_id)
    message.data.frombytes(data)
    return message


def to_object_array(
    result: Result,
    *,
    sequence: int = 0,
    shed_windows: int = 0,
    dropped_packets: int = 0,
    lost_packets: int = 0,
    masks: bool = True,
) -> msg.SegmentedObjectArray:
    """Return the objects of a result as message.

    Args:
        result: Result of one window or image.
        sequence: Number of the published array.
        shed_windows: Windows not processed so far.
        dropped_packets: Messages dropped so far.
        lost_packets: Messages that never arrived so far.
        masks: Whether the objects carry their mask.
    """
    fields = wire.object_array_fields(
        result,
        sequence=sequence,
        shed_windows=shed_windows,
        dropped_packets=dropped_packets,
        lost_packets=lost_packets,
        masks=masks,
    )
    objects = fields.pop('objects')
    message = _filled(msg.SegmentedObjectArray(), fields)
    message.objects = [_filled(msg.SegmentedObject(), item) for item in objects]
    return message


def from_object_array(message: msg.SegmentedObjectArray) -> Result:
    """Return a SegmentedObjectArray as Result (without instances).

    Raises:
        MessageError: A box lies outside the sensor or a mask does not fit its box.
    """
    height, width = message.height, message.width
    objects = tuple(_object_from_message(item, height, width) for item in message.objects)
    return Result(
        stamp=to_nanoseconds(message.header.stamp),
        duration=to_nanoseconds(message.window_duration),
        frame_id=message.header.frame_id,
        width=width,
        height=height,
        model=message.model,
        objects=objects,
        n_events=message.n_events,
        index=message.sequence,
    )


def to_instance_array(result: Result, *, masks: bool = True) -> msg.InstanceArray:
    """Return the instances of a result as message.

    Args:
        result: Result of one window.
        masks: Whether the instances carry their mask.
    """
    start = result.stamp - result.duration
    message = msg.InstanceArray(
        header=_header(result.stamp, result.frame_id),
        window_start=to_time(start),
        window_duration=to_duration(result.duration),
        height=result.height,
        width=result.width,
    )
    message.instances = [
        _instance_message(
            item, result.object_of_instance.get(item.instance_id, -1), start, result, masks
        )
        for item in result.instances
    ]
    return message


def to_label_map(labels: Iterable[ClassLabel], model: str, stamp: int) -> msg.LabelMap:
    """Return the classes of a model as message."""
    return _filled(msg.LabelMap(), wire.label_map_fields(labels, model, stamp))


def from_label_map(message: msg.LabelMap) -> tuple[ClassLabel, ...]:
    """Return a LabelMap as classes.

    Raises:
        MessageError: The lists have different lengths.
    """
    count = len(message.ids)
    if len(message.names) != count or len(message.colors) != 3 * count:
        text = (
            f'LabelMap has {count} ids, {len(message.names)} names and {len(message.colors)} '
            'colour bytes; it needs one name and three bytes per id.'
        )
        raise MessageError(text)
    colors = np.array(message.colors, np.uint8).reshape(-1, 3).tolist()
    return tuple(
        ClassLabel(int(number), name, (color[0], color[1], color[2]))
        for number, name, color in zip(message.ids, message.names, colors, strict=True)
    )


class MaskWriter:
    """Writes masks into one message that is used again and again.

    Publishing serialises at once, so the message may be refilled after publish() returned.

    Args:
        content: 'objects' (object_id + 1 per pixel), 'classes' (class id per pixel) or 'auto'
            (classes where the family has a mask of its own, else objects).
        compression: '' or 'zlib'.
        labels_topic: Topic of the LabelMap.

    Raises:
        MessageError: Content or compression is unknown.
    """

    def __init__(self, content: str, compression: str = '', labels_topic: str = '') -> None:
        if content not in ('auto', 'objects', 'classes') or compression not in ('', 'zlib'):
            text = (
                f'No mask of content {content!r} with compression {compression!r}; choose '
                "auto, objects or classes, '' or 'zlib'."
            )
            raise MessageError(text)
        self._content = content
        self._compression = compression
        self._labels_topic = labels_topic
        self._message = msg.SegmentationMask()

    def write(self, result: Result) -> msg.SegmentationMask:
        """Fill the message with the mask of a result and return it."""
        message = self._message
        content = self._content
        if content == 'auto':
            content = 'objects' if result.class_ids is None else 'classes'
        fields = wire.mask_fields(
            result,
            objects=content == 'objects',
            compression=self._compression,
            labels_topic=self._labels_topic,
        )
        data = fields.pop('data')
        _filled(message, fields)
        if len(message.data) != len(data):
            # The setter copies from Iron on, so the array is changed in place instead.
            del message.data[:]
            message.data.frombytes(data)
        else:
            np.frombuffer(message.data, np.uint8)[:] = np.frombuffer(data, np.uint8)
        return message


def read_mask(message: msg.SegmentationMask) -> NDArray[Any]:
    """Return the pixels of a SegmentationMask, shape (H, W), uint8 or uint16.

    Raises:
        MessageError: Encoding or compression is unknown, or the data do not fit the size.
    """
    kinds: dict[str, np.dtype[Any]] = {'mono8': np.dtype('u1'), 'mono16': np.dtype('<u2')}
    if message.encoding not in kinds or message.compression not in ('', 'zlib'):
        text = f'Unknown mask: encoding {message.encoding!r}, compression {message.compression!r}.'
        raise MessageError(text)
    kind = kinds[message.encoding]
    size = message.height * message.width * kind.itemsize
    data = memoryview(message.data)
    if message.compression:
        try:
            data = memoryview(zlib.decompressobj().decompress(data, size + 1))
        except zlib.error as err:
            text = f'Mask of {message.height} x {message.width} does not unpack: {err}'
            raise MessageError(text) from None
    if len(data) != size:
        text = f'Mask of {message.height} x {message.width} needs {size} bytes, got {len(data)}.'
        raise MessageError(text)
    return np.frombuffer(data, kind).reshape(message.height, message.width)


def read_crop(crop: msg.MaskCrop) -> NDArray[np.bool_]:
    """Return the pixels of a MaskCrop, shape (height, width), bool.

    Raises:
        MessageError: The data do not fit the size.
    """
    stride = -(-crop.width // 8)
    if len(crop.data) != crop.height * stride:
        text = (
            f'Mask crop of {crop.height} x {crop.width} needs {crop.height * stride} bytes, got '
            f'{len(crop.data)}.'
        )
        raise MessageError(text)
    if crop.width == 0 or crop.height == 0:
        return np.zeros((crop.height, crop.width), np.bool_)
    rows = np.frombuffer(crop.data, np.uint8).reshape(crop.height, stride)
    return np.unpackbits(rows, axis=1, count=crop.width).astype(np.bool_)


def _filled(message: Any, fields: Mapping[str, Any]) -> Any:
    """Set the fields of a message, those of nested messages included, and return it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            _filled(getattr(message, name), value)
            continue
        field = getattr(message, name)
        if not isinstance(field, array):
            setattr(message, name, value)
        elif isinstance(value, bytes):
            field.frombytes(value)
        else:
            field.extend(value)
    return message


def _header(stamp: int, frame_id: str) -> Header:
    """Return a message header."""
    return Header(stamp=to_time(stamp), frame_id=frame_id)


def _box_message(box: BoundingBox) -> msg.BoundingBox:
    """Return a box as message."""
    return msg.BoundingBox(**wire.box_fields(box))


def _crop_message(box: BoundingBox, mask: NDArray[np.bool_] | None) -> msg.MaskCrop:
    """Return a cropped mask as message; empty where there is none."""
    message: msg.MaskCrop = _filled(msg.MaskCrop(), wire.crop_fields(box, mask))
    return message


def _object_from_message(message: msg.SegmentedObject, height: int, width: int) -> SegmentedObject:
    """Return an object message as core object, everything checked."""
    # Imported here because torch comes with it, which senders of messages may do without.
    from spikeseg_ros.algorithms import BoundingBox

    box = message.box
    right, bottom = box.x + box.width, box.y + box.height
    if not (box.width and box.height and right <= width and bottom <= height):
        text = (
            f'Object {message.object_id!r} has the box x={box.x} y={box.y} width={box.width} '
            f'height={box.height}, which is empty or outside of {width} x {height} pixels.'
        )
        raise MessageError(text)
    mask = read_crop(message.mask)
    if mask.size == 0:
        mask = np.zeros((box.height, box.width), np.bool_)
    if mask.shape != (box.height, box.width):
        text = (
            f'Object {message.object_id!r} has a mask of {mask.shape!r} in a box of '
            f'{(box.height, box.width)!r}.'
        )
        raise MessageError(text)
    return SegmentedObject(
        object_id=message.object_id,
        box=BoundingBox(box.x, box.y, right - 1, bottom - 1),
        mask=mask,
        class_id=message.class_id,
        class_name=message.class_name,
        score=message.score,
        centroid=(message.centroid_x, message.centroid_y),
        n_events=message.n_events,
        instance_ids=tuple(message.instance_ids),
        track_id=message.track_id,
        track_age=message.track_age,
        velocity=(message.velocity_x, message.velocity_y),
    )


def _instance_message(
    item: Instance, object_id: int, start: int, result: Result, masks: bool
) -> msg.Instance:
    """Return an instance as message."""
    x, y = item.spike_location or (0, 0)
    step, steps = item.step or 0, item.ash.n_timesteps
    message = msg.Instance(
        id=item.instance_id,
        object_id=NO_OBJECT if object_id < 0 else object_id,
        class_id=item.class_id + 1,
        score=float(item.score),
        box=_box_message(item.bbox),
        spike_x=int(x),
        spike_y=int(y),
        spike_step=int(step),
        spike_time=to_time(start + (step + 1) * result.duration // max(1, steps)),
        ash_features=item.ash.n_features,
        ash_steps=steps,
        mask=_crop_message(item.bbox, item.crop if masks else None),
    )
    message.ash.frombytes(np.ascontiguousarray(item.ash.words, np.uint64).tobytes())
    return message
