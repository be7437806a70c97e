# SPDX-License-Identifier: Apache-2.0
"""Networks: SpikeSEG encoder and decoder, and safe loading of weights."""

from spikeseg_ros.models.encoder import (
    EncoderConfig,
    EncoderConfigError,
    EncoderOutput,
    EncoderRuntimeError,
    EncoderState,
    LayerConfig,
    PoolingIndices,
    SilentLayerWarning,
    SpikeSEGEncoder,
    trace_from_output,
)

__all__ = [
    'EncoderConfig',
    'EncoderConfigError',
    'EncoderOutput',
    'EncoderRuntimeError',
    'EncoderState',
    'LayerConfig',
    'PoolingIndices',
    'SilentLayerWarning',
    'SpikeSEGEncoder',
    'trace_from_output',
]
