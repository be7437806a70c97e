# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes and videos as events with ground truth."""

from spikeseg_ros.simulation.bag import EVENTS_TOPIC, IMAGE_TOPIC, write_recording
from spikeseg_ros.simulation.events import EventSimulator, SensorConfig, SimulationError
from spikeseg_ros.simulation.recording import Recording, simulate_scene
from spikeseg_ros.simulation.scene import Scene, demo_scene, random_scene
from spikeseg_ros.simulation.truth import GroundTruth, load_coco, save_coco

__all__ = [
    'EVENTS_TOPIC',
    'IMAGE_TOPIC',
    'EventSimulator',
    'GroundTruth',
    'Recording',
    'Scene',
    'SensorConfig',
    'SimulationError',
    'demo_scene',
    'load_coco',
    'random_scene',
    'save_coco',
    'simulate_scene',
    'write_recording',
]
