# SPDX-License-Identifier: Apache-2.0
"""Spiking segmentation of event-camera and camera streams for ROS 2."""
