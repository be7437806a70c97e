# SPDX-License-Identifier: Apache-2.0
"""Ground truth of recordings: one interface over the documented format and known data sets."""

from spikeseg_ros.evaluation.truth.base import TruthError, TruthSource, check_truth
from spikeseg_ros.evaluation.truth.clips import ClipTruth
from spikeseg_ros.evaluation.truth.ebssa import TrajectoryTruth
from spikeseg_ros.evaluation.truth.events import EventTruth, WindowsTruth
from spikeseg_ros.evaluation.truth.frames import FRAME_KINDS, LabelFrames, load_frames
from spikeseg_ros.evaluation.truth.load import KINDS, load_truth

__all__ = [
    'FRAME_KINDS',
    'KINDS',
    'ClipTruth',
    'EventTruth',
    'LabelFrames',
    'TrajectoryTruth',
    'TruthError',
    'TruthSource',
    'WindowsTruth',
    'check_truth',
    'load_frames',
    'load_truth',
]
