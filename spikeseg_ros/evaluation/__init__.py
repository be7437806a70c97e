# SPDX-License-Identifier: Apache-2.0
"""Reading recordings and judging results."""

from spikeseg_ros.evaluation.agreement import Agreement
from spikeseg_ros.evaluation.bags import BagError, BagReader, BagWriter, TopicInfo

__all__ = ['Agreement', 'BagError', 'BagReader', 'BagWriter', 'TopicInfo']
