# SPDX-License-Identifier: Apache-2.0
"""Spiking neurons, learning rules and the record of their activity."""
