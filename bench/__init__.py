# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: one per claim, peers measured in the same run."""
