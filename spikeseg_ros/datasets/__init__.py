# SPDX-License-Identifier: Apache-2.0
"""Data sets for segmentation, behind one small interface."""

from spikeseg_ros.datasets.base import (
    DatasetError,
    Sample,
    SegmentationDataset,
    open_dataset,
    rgb_image,
)
from spikeseg_ros.datasets.camvid import CamVid

__all__ = ['CamVid', 'DatasetError', 'Sample', 'SegmentationDataset', 'open_dataset', 'rgb_image']
