# SPDX-License-Identifier: Apache-2.0
"""From spikes to objects: HULK, ASH, SMASH, grouping and tracking."""
