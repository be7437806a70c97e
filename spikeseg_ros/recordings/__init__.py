# SPDX-License-Identifier: Apache-2.0
"""Reading and writing recordings of any kind, with and without ROS."""

from spikeseg_ros.recordings.bags import BagError, BagReader, BagWriter, TopicInfo
from spikeseg_ros.recordings.opening import open_recording

__all__ = ['BagError', 'BagReader', 'BagWriter', 'TopicInfo', 'open_recording']
