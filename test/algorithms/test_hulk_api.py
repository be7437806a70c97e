# SPDX-License-Identifier: Apache-2.0
"""HULK through the published API: tensors in, instances out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from spikeseg_ros.algorithms import (
    EncoderCompatibilityError,
    HULKDecoder,
    HULKRuntimeError,
    group_instances_to_objects,
)
from spikeseg_ros.models.encoder import EncoderConfig, SpikeSEGEncoder, trace_from_output
from spikeseg_ros.spiking.unravel import unravel_dense


def moving_bars(steps=8, height=46, width=60, batch=1, channels=2):
    """Return (T, B, C, H, W) events of two bars, different in every batch item."""
    events = torch.zeros(steps, batch, channels, height, width)
    for item in range(batch):
        for t in range(steps):
            x = 6 + 2 * t + 3 * item
            events[t, item, 0, 4:22, x : x + 2] = 1
            events[t, item, -1, 25:42, width - x - 2 : width - x] = 1
    return events


@pytest.fixture(scope='module')
def encoder():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        made = SpikeSEGEncoder(EncoderConfig.from_paper('default', n_classes=2))
    rng = np.random.default_rng(0)
    for name, share in (('conv2', 0.3), ('conv3', 0.1)):
        shape = tuple(getattr(made, name).weight.shape)
        made.set_weights(**{name: (rng.random(shape) < share) * 0.9 + 0.05})
    made.set_threshold('conv2', 4.0, 0.25)
    made.set_threshold('conv3', 8.0)
    return made


def mapped(instances):
    """Return what matters of instances, comparable."""
    return [
        (
            item.instance_id,
            item.class_id,
            item.step,
            item.spike_location,
            item.bbox,
            item.crop.tobytes(),
            item.ash.words.tobytes(),
        )
        for item in instances
    ]


def test_example_of_the_documentation(encoder):
    events = moving_bars()
    output = encoder(events)
    hulk = HULKDecoder.from_encoder(encoder)
    indices = output.pooling_indices
    instances = hulk.process_to_instances(
        classification_spikes=output.classification_spikes,
        pool1_indices=indices.pool1_indices,
        pool2_indices=indices.pool2_indices,
        pool1_output_size=indices.pool1_output_size,
        pool2_output_size=indices.pool2_output_size,
        n_timesteps=events.shape[0],
        threshold=0.5,
    )
    assert output.n_classification_spikes > 10
    assert 0 < len(instances) <= output.n_classification_spikes
    objects = group_instances_to_objects(instances, smash_threshold=0.1)
    assert sum(item.n_instances for item in objects) == len(instances)
    for item in objects:
        assert item.combined_bbox.area > 0
        assert item.combined_ash.n_features == 4 + 36 + 2
    for item in instances:
        assert item.mask.shape == events.shape[-2:]
        assert item.ash.hash_matrix.shape == (42, events.shape[0])


def test_process_equals_the_definition_on_the_encoders_own_record(encoder):
    output = encoder(moving_bars())
    hulk = HULKDecoder.from_encoder(encoder)
    trace = trace_from_output(output)
    instances = hulk.process(output)
    assert mapped(instances) == mapped(hulk.instances_from_trace(trace).to_instances())
    assert [item.score for item in instances] == pytest.approx(
        [float(trace.classes.potential[item.instance_id]) for item in instances]
    )
    for item in instances[::5]:
        truth = unravel_dense(trace, encoder.weights, [item.instance_id])
        np.testing.assert_array_equal(item.mask.numpy(), truth.mask)


def test_batch_items_are_decoded_on_their_own(encoder):
    events = moving_bars(batch=2)
    hulk = HULKDecoder.from_encoder(encoder)
    both = hulk.process(encoder(events))
    assert len(both) == 2
    for item in range(2):
        alone = hulk.process(encoder(events[:, item : item + 1]))
        assert mapped(both[item]) == mapped(alone)
    assert mapped(both[0]) != mapped(both[1])


def test_four_and_five_axes_mean_the_same(encoder):
    events = moving_bars()
    output = encoder(events)
    hulk, indices = HULKDecoder.from_encoder(encoder), output.pooling_indices
    five = hulk.process_to_instances(output.classification_spikes, *indices, input_spikes=events)
    four = hulk.process_to_instances(
        output.classification_spikes[:, 0], *indices, input_spikes=events[:, 0]
    )
    assert mapped(four) == mapped(five)
    sizeless = hulk.process_to_instances(
        output.classification_spikes, *indices[:2], input_spikes=events
    )
    assert mapped(sizeless) == mapped(five)


def test_without_input_the_mask_holds_all_pixels_under_the_filters(encoder):
    events = moving_bars()
    output = encoder(events)
    hulk, indices = HULKDecoder.from_encoder(encoder), output.pooling_indices
    gated = hulk.process_to_instances(output.classification_spikes, *indices, input_spikes=events)
    free = hulk.process_to_instances(output.classification_spikes, *indices)
    wide = {item.instance_id: item for item in free}
    assert all((item.mask & ~wide[item.instance_id].mask).sum() == 0 for item in gated)
    assert sum(int(item.mask.sum()) for item in free) > sum(int(i.mask.sum()) for i in gated)
    assert all(item.ash == wide[item.instance_id].ash for item in gated)


def test_indices_of_the_last_step_decode_by_weights(encoder):
    output = encoder(moving_bars())
    hulk, indices = HULKDecoder.from_encoder(encoder), output.pooling_indices
    last = (indices.pool1_indices[-1], indices.pool2_indices[-1], *indices[2:])
    instances = hulk.process_to_instances(output.classification_spikes, *last)
    assert instances
    for item in instances:
        # All activity of an instance carries the step of its class spike.
        assert set(np.nonzero(item.ash.matrix)[1]) == {item.step}
    with pytest.raises(HULKRuntimeError, match='every step'):
        hulk.process_to_instances(output.classification_spikes, *last, mode='causal')


def test_weights_mode_is_what_transposed_convolutions_give(encoder):
    output = encoder(moving_bars())
    hulk, indices = HULKDecoder.from_encoder(encoder), output.pooling_indices
    instances = hulk.process_to_instances(output.classification_spikes, *indices, mode='weights')
    w1, w2, w3 = (torch.from_numpy(w) for w in encoder.weights)
    conv = torch.nn.functional.conv_transpose2d
    unpool = torch.nn.functional.max_unpool2d
    for item in instances[::7]:
        x, y = item.spike_location
        one = torch.zeros_like(output.classification_spikes[0])
        one[0, item.class_id, y, x] = 1
        # A silent window stands for its first cell.
        first = [
            torch.nn.functional.max_pool2d(torch.zeros(size), 2, return_indices=True)[1]
            for size in indices[2:]
        ]
        step = [
            torch.where(index[item.step] < 0, start, index[item.step])
            for index, start in zip(indices[:2], first, strict=True)
        ]
        active = (conv(one, w3, padding=3) > 0.5).float()
        active = unpool(active, step[1], 2, output_size=indices[3])
        active = (conv(active, w2, padding=2) > 0.5).float()
        active = unpool(active, step[0], 2, output_size=indices[2])
        pixels = (conv(active, w1, padding=2) > 0).any(dim=1)[0]
        assert torch.equal(item.mask, pixels)


def test_single_spikes_and_all_spikes(encoder):
    events = moving_bars()
    output = encoder(events)
    hulk, indices = HULKDecoder.from_encoder(encoder), output.pooling_indices
    more = {'input_spikes': events, 'charge_start': output.charge_start}
    results = hulk.unravel_all_spikes(output.classification_spikes, *indices, **more)
    assert len(results) == output.n_classification_spikes
    instances = {item.instance_id: item for item in hulk.process(output)}
    for number, result in list(enumerate(results))[::9]:
        one = hulk.unravel_spike(
            result.spike_location,
            result.timestep,
            *indices,
            class_id=result.class_id,
            **more,
        )
        assert torch.equal(one.pixel_mask, result.pixel_mask)
        assert (one.ash, one.bbox) == (result.ash, result.bbox)
        if number in instances:
            assert mapped([result.to_instance(number)]) == mapped([instances[number]])
        else:
            assert result.bbox is None
            with pytest.raises(HULKRuntimeError, match='empty mask'):
                result.to_instance(number)


def test_strided_pool_of_the_2020_network():
    config = EncoderConfig.from_paper('spikeseg')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        encoder = SpikeSEGEncoder(config)
    encoder.set_threshold('conv1', 2.0)
    encoder.set_threshold('conv3', 4.0)
    output = encoder(moving_bars(height=100, width=130, channels=1))
    hulk = HULKDecoder.from_encoder(encoder)
    assert (hulk.pool_kernels, hulk.pool_strides) == ((7, 2), (6, 2))
    instances = hulk.process(output)
    assert instances
    trace = trace_from_output(output)
    for item in instances[:: max(1, len(instances) // 4)]:
        truth = unravel_dense(trace, encoder.weights, [item.instance_id])
        np.testing.assert_array_equal(item.mask.numpy(), truth.mask)


def test_decoder_can_be_treated_as_a_module(encoder):
    hulk = HULKDecoder.from_encoder(encoder).to('cpu').eval()
    assert hulk.n_features == 42
    assert hulk.layers == (4, 36, 2)


def test_what_does_not_fit_is_named(encoder):
    output = encoder(moving_bars())
    hulk, indices = HULKDecoder.from_encoder(encoder), output.pooling_indices
    spikes = output.classification_spikes
    with pytest.raises(HULKRuntimeError, match='n_timesteps is 3'):
        hulk.process_to_instances(spikes, *indices, n_timesteps=3)
    with pytest.raises(HULKRuntimeError, match='classification_spikes must have the shape'):
        hulk.process_to_instances(spikes[..., :-1], *indices)
    with pytest.raises(HULKRuntimeError, match='classification_spikes must have the shape'):
        hulk.process_to_instances(spikes[0, 0], *indices)
    with pytest.raises(HULKRuntimeError, match='input_spikes must have the shape'):
        hulk.process_to_instances(spikes, *indices, input_spikes=spikes)
    wrong = indices.pool1_indices.clone()
    wrong[2, 0, 1, 3, 4] = 0
    with pytest.raises(HULKRuntimeError, match='outside its window'):
        hulk.process_to_instances(spikes, wrong, *indices[1:])
    with pytest.raises(HULKRuntimeError, match='pool2_output_size'):
        hulk.process_to_instances(spikes, *indices[:3], (1, 36, 20, 30))
    with pytest.raises(HULKRuntimeError, match="'conv2'"):
        hulk.process_to_instances(spikes, *indices, charge_start={'conv2': spikes})
    with pytest.raises(HULKRuntimeError, match='No cell'):
        hulk.unravel_spike((99, 0), 0, *indices)
    with pytest.raises(EncoderCompatibilityError, match='conv1'):
        HULKDecoder.from_encoder(torch.nn.Identity())
    bare = torch.nn.Module()
    for number, weight in enumerate(encoder.weights, 1):
        setattr(bare, f'conv{number}', torch.from_numpy(weight))
    with pytest.raises(EncoderCompatibilityError, match=r'config\.pool1_kernel_size'):
        HULKDecoder.from_encoder(bare)
