# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes and videos as events with ground truth."""
