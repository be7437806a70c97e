# SPDX-License-Identifier: Apache-2.0
"""Readers of event files that are no bags, one module per format."""
