# SPDX-License-Identifier: Apache-2.0
"""Write config/*.yaml anew from the declared options: run it after an option changed."""

from __future__ import annotations

from pathlib import Path

from spikeseg_ros.reference import parameter_file

FOLDER = Path(__file__).resolve().parents[1] / 'config'
QOS = """

QoS of any topic can be changed here too, for example:
  qos_overrides:
    /event_camera/events: {subscription: {reliability: reliable, depth: 100}}"""

CAMERA = {
    'events_topic': '',
    'image_topic': '/camera/image_raw',
    'sensor_width': 640,
    'sensor_height': 480,
    'mask_compression': 'zlib',
}
DRAWN_ON_IMAGES = {'events_topic': '', 'image_topic': '/camera/image_raw'}

FILES = {
    'demo': (
        'Parameters of the demonstration: a simulated sensor of 346 x 260 pixels.\n'
        'Every value is the default; copy the file and change what you need.',
        {},
        {},
    ),
    'evk4': (
        'Parameters for a Prophesee EVK4-class sensor (IMX636, 1280 x 720 pixels) driven by\n'
        'metavision_driver: 1 .. 20 million events per second in EVT3 packets every 4 ms.',
        {
            'sensor_width': 1280,
            'sensor_height': 720,
            'events.queue_mb': 40.0,
            'mask_compression': 'zlib',
            'spikeseg.max_instances': 1000,
        },
        {'max_rate_hz': 20.0},
    ),
    'davis346': (
        'Parameters for a DAVIS346-class sensor (346 x 260 pixels) driven by libcaer_driver:\n'
        'up to a few million events per second in libcaer_cmp packets, and gray images.',
        {'sensor_width': 346, 'sensor_height': 260},
        {'image_topic': '/event_camera/image_raw'},
    ),
    'camera': (
        'Parameters for a colour camera of 640 x 480 pixels in a street: mfs_seg gives every\n'
        'pixel one of 11 classes, and follows cars, pedestrians and bicyclists.',
        {**CAMERA, 'model': 'mfs_seg'},
        DRAWN_ON_IMAGES,
    ),
    'spike2former': (
        'Parameters for a colour camera of 640 x 480 pixels and the small Spike2Former that\n'
        'comes with the package; give your own weights, or released ones (docs/spike2former.md).',
        {**CAMERA, 'model': 'spike2former', 'weights': 'spike2former_camvid'},
        DRAWN_ON_IMAGES,
    ),
}


def contents() -> dict[Path, str]:
    """Return the text of every configuration file."""
    return {
        FOLDER / f'{name}.yaml': parameter_file(title + QOS, perception, visualizer)
        for name, (title, perception, visualizer) in FILES.items()
    }


if __name__ == '__main__':
    for path, text in contents().items():
        path.write_text(text, encoding='utf-8')
