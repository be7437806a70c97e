# SPDX-License-Identifier: Apache-2.0
"""Networks: SpikeSEG encoder and decoder, Spike2Former, and safe loading of weights."""

from spikeseg_ros.models.decoder import DecoderError, Segmentation, SpikeSEGDecoder
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
from spikeseg_ros.models.event_encoder import EventDrivenEncoder
from spikeseg_ros.models.spike2former import Spike2Former, Spike2FormerConfig
from spikeseg_ros.models.weights import (
    NetworkWeights,
    WeightsError,
    load_encoder,
    load_weights,
    packaged_weights,
    save_weights,
)

__all__ = [
    'DecoderError',
    'EncoderConfig',
    'EncoderConfigError',
    'EncoderOutput',
    'EncoderRuntimeError',
    'EncoderState',
    'EventDrivenEncoder',
    'LayerConfig',
    'NetworkWeights',
    'PoolingIndices',
    'Segmentation',
    'SilentLayerWarning',
    'Spike2Former',
    'Spike2FormerConfig',
    'SpikeSEGDecoder',
    'SpikeSEGEncoder',
    'WeightsError',
    'load_encoder',
    'load_weights',
    'packaged_weights',
    'save_weights',
    'trace_from_output',
]
