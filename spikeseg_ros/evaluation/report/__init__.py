# SPDX-License-Identifier: Apache-2.0
"""Reports that people read: one page per run, and two runs side by side."""

from spikeseg_ros.evaluation.report.errors import ReportError
from spikeseg_ros.evaluation.report.writer import write_report

__all__ = ['ReportError', 'write_report']
