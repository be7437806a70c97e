# SPDX-License-Identifier: Apache-2.0
"""Judging results: metrics, benchmarks and reports."""

from spikeseg_ros.evaluation.agreement import Agreement

__all__ = ['Agreement']
