# SPDX-License-Identifier: Apache-2.0
"""Decoding whole frames: the union of single traces, indices by step, overlapping pools."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from spikeseg_ros.models.decoder import DecoderError, SpikeSEGDecoder, spans
from spikeseg_ros.models.encoder import (
    EncoderConfig,
    EncoderOutput,
    LayerConfig,
    SpikeSEGEncoder,
    trace_from_output,
)
from spikeseg_ros.spiking.unravel import unravel_dense

pytestmark = pytest.mark.filterwarnings('ignore::spikeseg_ros.models.encoder.SilentLayerWarning')


def network(overlapping: bool, classes: int = 2) -> SpikeSEGEncoder:
    """Build a small network whose layers all fire on random input."""
    config = EncoderConfig(
        LayerConfig(4, 5, 0.3, 0.1, threshold_scale='l1'),
        LayerConfig(6, 5, 6.0, 0.5),
        LayerConfig(classes, 7, 90.0, 0.25),
        input_channels=2,
    )
    if overlapping:
        config = dataclasses.replace(
            config, pool1_kernel_size=3, pool2_kernel_size=3, pool2_stride=1
        )
    encoder = SpikeSEGEncoder(config)
    generator = torch.Generator().manual_seed(9)
    for name, share in (('conv2', 0.3), ('conv3', 0.2)):
        shape = getattr(encoder, name).weight.shape
        encoder.set_weights(**{name: (torch.rand(shape, generator=generator) < share).float()})
    return encoder


def window(batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    x = (torch.rand(5, batch, 2, 21, 26, generator=generator) < 0.15).float()
    x[..., 14:] = 0
    return x


def run(overlapping: bool = False, batch: int = 1) -> tuple[SpikeSEGEncoder, EncoderOutput]:
    encoder = network(overlapping)
    if overlapping:
        encoder.set_threshold('conv3', 300.0)
    output = encoder(window(batch))
    assert 5 < output.n_classification_spikes < 100 * batch
    return encoder, output


@pytest.mark.parametrize('overlapping', [False, True])
def test_the_semantic_mask_is_the_union_of_the_single_traces(overlapping: bool) -> None:
    encoder, output = run(overlapping, batch=2)
    found = SpikeSEGDecoder.from_encoder(encoder).segment(output)
    assert 0 < int(found.mask.sum()) < found.mask.numel() / 2
    for b in range(2):
        trace = trace_from_output(output, b)
        events = np.zeros(trace.inputs.shape, np.bool_)
        for k in range(2):
            spikes = np.flatnonzero(trace.classes.class_id == k)
            union = unravel_dense(trace, encoder.weights, spikes)
            assert np.array_equal(found.mask[b, k].numpy(), union.mask)
            events |= union.events
        assert np.array_equal(found.events[:, b].permute(0, 2, 3, 1).numpy(), events)


def test_without_class_spikes_there_is_no_mask() -> None:
    encoder = network(overlapping=False)
    output = encoder(torch.zeros(3, 1, 2, 21, 26))
    decoder = SpikeSEGDecoder.from_encoder(encoder)
    assert not decoder.segment(output).mask.any()
    assert not decoder(output.classification_spikes, output.pooling_indices).any()


def test_graded_saliency_of_one_spike_follows_its_own_step() -> None:
    encoder, output = run()
    decoder = SpikeSEGDecoder.from_encoder(encoder)
    t, _, k, y, x = output.classification_spikes.nonzero()[-1].tolist()
    single = torch.zeros_like(output.classification_spikes)
    single[t, 0, k, y, x] = 1
    saliency = decoder(single, output.pooling_indices)
    assert saliency.shape == (5, 1, 1, 21, 26)
    assert [bool(step.any()) for step in saliency] == [step == t for step in range(5)]
    ys, xs = saliency[t, 0, 0].nonzero(as_tuple=True)
    origin, size = output.geometry.footprint()
    assert int(ys.min()) >= 4 * y + origin
    assert int(ys.max()) < 4 * y + origin + size
    assert int(xs.min()) >= 4 * x + origin


def test_one_set_of_indices_serves_all_steps() -> None:
    encoder, output = run()
    decoder = SpikeSEGDecoder.from_encoder(encoder)
    indices = output.pooling_indices
    last = indices._replace(
        pool1_indices=indices.pool1_indices[-1], pool2_indices=indices.pool2_indices[-1]
    )
    repeated = indices._replace(
        pool1_indices=indices.pool1_indices[-1:].expand_as(indices.pool1_indices),
        pool2_indices=indices.pool2_indices[-1:].expand_as(indices.pool2_indices),
    )
    spikes = output.classification_spikes
    assert torch.equal(decoder(spikes, last), decoder(spikes, repeated))
    assert not torch.equal(decoder(spikes, last), decoder(spikes, indices))


def test_spikes_and_indices_that_do_not_fit_are_refused() -> None:
    encoder, output = run()
    decoder = SpikeSEGDecoder.from_encoder(encoder)
    with pytest.raises(DecoderError, match='classification_spikes'):
        decoder(output.classification_spikes[0], output.pooling_indices)
    short = output.pooling_indices._replace(pool2_indices=output.pooling_indices.pool2_indices[:3])
    with pytest.raises(DecoderError, match='pool2_indices need'):
        decoder(output.classification_spikes, short)
    outside = output.pooling_indices._replace(pool2_output_size=(1, 6, 3, 3))
    with pytest.raises(DecoderError, match='outside'):
        decoder(output.classification_spikes, outside)


def test_spans_cover_since_to_spike() -> None:
    spikes = torch.tensor([0, 0, 1, 0, 0, 1, 0], dtype=torch.bool)
    since = torch.tensor([0, 0, 1, 0, 0, 5, 0], dtype=torch.int16)
    assert spans(spikes, since).int().tolist() == [0, 1, 1, 0, 0, 1, 0]
