# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that anyone can run again: fixed data, seeds, splits and baselines."""
