# SPDX-License-Identifier: Apache-2.0
"""Events in: decoding of driver messages, clocks, windows and binning."""
