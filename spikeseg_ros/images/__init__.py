# SPDX-License-Identifier: Apache-2.0
"""Images in and out: message codecs, resizing, colours and overlays."""
