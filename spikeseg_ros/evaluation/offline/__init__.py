# SPDX-License-Identifier: Apache-2.0
"""Deterministic evaluation of recordings: the same core as the node, on recorded time."""
