# SPDX-License-Identifier: Apache-2.0
"""The perception core: one tick from input to objects, without ROS."""
