# SPDX-License-Identifier: Apache-2.0
"""Reading recordings and judging results."""
