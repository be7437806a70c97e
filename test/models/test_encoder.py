# SPDX-License-Identifier: Apache-2.0
"""The encoder's published interface, presets, filters, refusals and warnings."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from spikeseg_ros.models import SpikeSEGEncoder
from spikeseg_ros.models.encoder import (
    EncoderConfig,
    EncoderConfigError,
    EncoderRuntimeError,
    LayerConfig,
    SilentLayerWarning,
)
from spikeseg_ros.models.filters import dog_filters, gabor_filters, initial_weights
from spikeseg_ros.models.output import TraceError, trace_from_output

quiet = pytest.mark.filterwarnings('ignore::spikeseg_ros.models.encoder.SilentLayerWarning')


def default(**overrides: int) -> SpikeSEGEncoder:
    return SpikeSEGEncoder(EncoderConfig.from_paper('default', **overrides))


def moving(kind: str, channels: int, height: int, width: int) -> torch.Tensor:
    """Spikes of a bright shape that moves 2 px in a step, shape (10, 1, C, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')

    def shape(t: int) -> torch.Tensor:
        dx, dy = x - 60 - 2 * t, y - 70
        if kind == 'point':
            return dx**2 + dy**2 <= 4
        if kind == 'bar':
            return (dx.abs() <= 6) & (dy.abs() <= 20)
        eyes = ((dx + 5) ** 2 + (dy + 5) ** 2 <= 6) | ((dx - 5) ** 2 + (dy + 5) ** 2 <= 6)
        mouth = (dx.abs() <= 5) & ((dy - 8).abs() <= 1)
        return (dx**2 / 144 + dy**2 / 256 <= 1) & ~eyes & ~mouth

    frames = torch.zeros(10, 1, 2, height, width)
    for t in range(10):
        frames[t, 0, 1] = shape(t + 1) & ~shape(t)
        frames[t, 0, 0] = shape(t) & ~shape(t + 1)
    return frames if channels == 2 else frames.amax(dim=2, keepdim=True)


@quiet
def test_the_published_example_runs() -> None:
    encoder = SpikeSEGEncoder(EncoderConfig.from_paper('igarss2023', n_classes=1))
    output = encoder(torch.rand(2, 1, 64, 64))
    assert output.classification_spikes.shape == (1, 2, 1, 16, 16)
    assert output.has_spikes is (output.n_classification_spikes > 0)
    indices = output.pooling_indices
    assert indices.pool1_indices.shape == (1, 2, 4, 32, 32)
    assert indices.pool2_indices.shape == (1, 2, 36, 16, 16)
    assert indices.pool1_output_size == (2, 4, 64, 64)
    assert indices.pool2_output_size == (2, 36, 32, 32)
    assert set(output.layer_spikes) == {'conv1', 'pool1', 'conv2', 'pool2', 'conv3'}
    assert output.layer_membranes['conv2'].shape == (1, 2, 36, 32, 32)


@quiet
def test_the_literal_preset_has_the_published_numbers() -> None:
    encoder = SpikeSEGEncoder(EncoderConfig.from_paper('igarss2023', n_classes=3))
    shapes = [weight.shape for weight in encoder.weights]
    assert shapes == [(4, 1, 5, 5), (36, 4, 5, 5), (3, 36, 7, 7)]
    for name, leak in (('conv1', 9.0), ('conv2', 1.0), ('conv3', 0.0)):
        params = encoder.neurons(name)
        assert params.threshold.unique().tolist() == [10.0]
        assert params.leak.unique().tolist() == [leak]
        assert (params.leak_mode, params.fire_once) == ('subtractive', False)
    geometry = encoder.geometry(61, 47)
    assert (geometry.pool1_size, geometry.pool2_size) == ((30, 23), (15, 11))
    assert geometry.footprint() == (-18, 40)


@quiet
@pytest.mark.parametrize(
    'name', ['spikeseg', 'SpikeSEG2020', 'hulk2022', 'hulksmash', 'hulk-smash']
)
def test_the_strided_preset_and_its_aliases(name: str) -> None:
    config = EncoderConfig.from_paper(name)
    assert (config.pool1_kernel_size, config.pool1_stride) == (7, 6)
    assert (config.pool2_kernel_size, config.pool2_stride) == (2, 2)
    assert [layer.leak for layer in config.layers] == [0, 0, 0]
    output = SpikeSEGEncoder(config)(torch.ones(1, 1, 64, 70), n_timesteps=2)
    assert output.layer_spikes['pool1'].shape[-2:] == (10, 11)
    assert output.layer_spikes['pool2'].shape[-2:] == (5, 5)


@quiet
def test_scaled_thresholds_keep_the_ratios_of_the_paper() -> None:
    encoder = SpikeSEGEncoder(EncoderConfig.from_paper('igarss2023-scaled'))
    for name, ratio in (('conv1', 0.9), ('conv2', 0.1), ('conv3', 0.0)):
        params = encoder.neurons(name)
        assert torch.allclose(params.leak / params.threshold, torch.tensor(ratio), atol=0.01)


def test_the_default_counts_one_polarity_for_the_threshold_of_conv1() -> None:
    encoder = default()
    one_polarity = torch.as_tensor(encoder.weights[0][:, 0]).sum(dim=(1, 2))
    assert torch.allclose(encoder.conv1_threshold, 0.4 * one_polarity, atol=1 / 256)


@quiet
@pytest.mark.parametrize('kind', ['point', 'bar', 'face'])
@pytest.mark.parametrize(
    ('name', 'size'),
    [('igarss2023-scaled', (260, 346)), ('default', (260, 346)), ('spikeseg', (400, 500))],
)
def test_each_firing_preset_fires_sparsely(name: str, size: tuple[int, int], kind: str) -> None:
    encoder = SpikeSEGEncoder(EncoderConfig.from_paper(name))
    output = encoder(moving(kind, encoder.config.input_channels, *size))
    for layer in ('conv1', 'pool1', 'conv2', 'pool2', 'conv3'):
        share = float(getattr(output.record, layer).spikes.any(dim=0).float().mean())
        assert 0 < share < 0.1, (layer, share)


def test_the_literal_preset_stays_silent_and_says_so() -> None:
    with pytest.warns(SilentLayerWarning, match=r'conv1: 4 of 4 maps can never spike.* 6\.'):
        encoder = SpikeSEGEncoder(EncoderConfig.from_paper('igarss2023'))
    for kind in ('point', 'bar', 'face'):
        assert not encoder(moving(kind, 1, 128, 128)).layer_spikes['conv1'].any()


def test_the_default_preset_does_not_warn_and_slow_layers_are_named() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        encoder = default()
    with pytest.warns(SilentLayerWarning, match='conv2: 36 of 36 maps can never spike within one'):
        encoder.set_threshold('conv2', 1000.0)
    encoder.set_threshold('conv2', 10.0)
    weights = encoder.weights[1]
    weights[7] = 0
    with pytest.warns(SilentLayerWarning, match='conv2: 1 of 36 maps can never spike. In map 7'):
        encoder.set_weights(conv2=weights)


def test_a_frame_is_presented_in_every_step() -> None:
    encoder = default()
    frame = (torch.rand(2, 2, 40, 40, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    repeated = encoder(frame.expand(5, -1, -1, -1, -1))
    output = encoder(frame, n_timesteps=5)
    assert output.n_timesteps == 5
    assert torch.equal(output.classification_spikes, repeated.classification_spikes)
    assert output.record.conv1.spikes.any()


def test_spike_times_and_indices_agree_with_the_spikes() -> None:
    encoder = default()
    x = (torch.rand(6, 2, 2, 41, 39, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    output = encoder(x)
    for name, spikes in output.layer_spikes.items():
        times = output.layer_spike_times[name]
        assert torch.equal(times >= 0, spikes.any(dim=0))
        for b, c, y, xx in (times >= 0).nonzero()[::97].tolist():
            assert int(spikes[:, b, c, y, xx].nonzero()[0]) == int(times[b, c, y, xx])
    for layer, pool, index in (
        ('conv1', 'pool1', output.pooling_indices.pool1_indices),
        ('conv2', 'pool2', output.pooling_indices.pool2_indices),
    ):
        passed = output.layer_spikes[pool] > 0
        assert torch.equal(index >= 0, passed)
        before = output.layer_spikes[layer].flatten(3).gather(3, index.clamp(min=0).flatten(3))
        assert bool((before.view_as(index)[passed] == 1).all())


def test_an_unknown_preset_names_itself_and_the_known() -> None:
    with pytest.raises(EncoderConfigError, match=r"'igars2023'.*igarss2023, .*hulk2022"):
        EncoderConfig.from_paper('igars2023')


@pytest.mark.parametrize('n_classes', [0, -1, 1.5, True])
def test_impossible_numbers_of_classes_are_value_errors(n_classes: int) -> None:
    with pytest.raises(ValueError, match='n_classes'):
        EncoderConfig.from_paper('igarss2023', n_classes=n_classes)


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'out_channels': 0}, 'out_channels'),
        ({'kernel_size': 4}, 'odd'),
        ({'threshold': 0.0}, 'threshold'),
        ({'threshold': math.inf}, 'inf'),
        ({'leak': -1.0}, 'leak'),
        ({'leak': 1.5, 'leak_mode': 'multiplicative'}, 'leak'),
        ({'leak': 1.0, 'leak_mode': 'none'}, 'no leak'),
        ({'leak_mode': 'exponential'}, "'exponential'"),
        ({'threshold_scale': 'l2'}, "'l2'"),
    ],
)
def test_impossible_layers_are_refused(values: dict, text: str) -> None:
    with pytest.raises(EncoderConfigError, match=text):
        LayerConfig(**{'out_channels': 4, 'kernel_size': 5, **values})


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'input_channels': 0}, 'input_channels'),
        ({'pool1_kernel_size': 16}, 'pool1_kernel_size'),
        ({'pool2_stride': 3}, 'pool2_stride'),
        ({'conv1_filters': 'sobel'}, "'sobel'"),
    ],
)
def test_impossible_networks_are_refused(values: dict, text: str) -> None:
    with pytest.raises(EncoderConfigError, match=text):
        EncoderConfig(**values)


@pytest.mark.parametrize(
    ('x', 'text'),
    [
        (torch.zeros(1, 1, 32, 32), 'input_channels=1'),
        (torch.zeros(2, 32, 32), 'shape'),
        (torch.zeros(0, 1, 2, 32, 32), 'empty'),
        (torch.zeros(1, 2, 3, 32), 'too small'),
        (torch.full((1, 2, 32, 32), float('nan')), 'NaN'),
        (torch.full((1, 2, 32, 32), float('inf')), 'NaN'),
        (torch.zeros(1, 2, 32, 32, dtype=torch.complex64), 'real'),
        (np.zeros((1, 2, 32, 32), np.float32), 'ndarray'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: torch.Tensor, text: str) -> None:
    with pytest.raises(EncoderRuntimeError, match=text):
        default()(x)


def test_contradicting_arguments_are_refused() -> None:
    encoder = default()
    with pytest.raises(EncoderRuntimeError, match='contradicts'):
        encoder(torch.zeros(4, 1, 2, 32, 32), n_timesteps=5)
    with pytest.raises(EncoderRuntimeError, match='n_timesteps'):
        encoder(torch.zeros(1, 2, 32, 32), n_timesteps=0)
    with pytest.raises(EncoderRuntimeError, match="'conv4'"):
        encoder(torch.zeros(1, 2, 32, 32), layer_thresholds={'conv4': 1.0})
    with pytest.raises(EncoderRuntimeError, match='conv2: Thresholds'):
        encoder(torch.zeros(1, 2, 32, 32), layer_thresholds={'conv2': -1.0})
    with pytest.raises(EncoderRuntimeError, match='1 or 36 values'):
        encoder(torch.zeros(1, 2, 32, 32), layer_thresholds={'conv2': [1.0, 2.0]})


def test_weights_that_do_not_fit_are_refused_and_others_are_put_on_the_grid() -> None:
    encoder = default()
    with pytest.raises(EncoderRuntimeError, match=r'\(36, 4, 5, 5\)'):
        encoder.set_weights(conv2=torch.zeros(36, 4, 3, 3))
    with pytest.raises(EncoderRuntimeError, match='finite'):
        encoder.set_weights(conv2=torch.full((36, 4, 5, 5), float('nan')))
    with pytest.raises(EncoderRuntimeError, match="'pool1'"):
        encoder.set_weights(pool1=torch.zeros(1))
    values = torch.rand(36, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    encoder.set_weights(conv2=values)
    stored = torch.as_tensor(encoder.weights[1]) * 256
    assert torch.equal(stored, stored.round())
    assert float((stored / 256 - values).abs().max()) <= 1 / 512


def test_thresholds_that_scale_follow_the_weights_until_they_are_fixed() -> None:
    encoder = default()
    before = encoder.conv1_threshold.clone()
    encoder.set_weights(conv1=encoder.weights[0] / 2)
    assert torch.allclose(encoder.conv1_threshold, before / 2, atol=1 / 128)
    encoder.set_threshold('conv1', 2.0)
    assert encoder.conv1_leak.unique().tolist() == [pytest.approx(0.2, abs=1 / 512)]
    encoder.set_weights(conv1=encoder.weights[0] * 2)
    assert encoder.conv1_threshold.tolist() == [2.0] * 4


@quiet
def test_a_state_dict_carries_weights_and_adapted_thresholds() -> None:
    source = default(seed=3)
    source.set_threshold('conv2', torch.linspace(5, 12, 36))
    target = default(seed=4)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.conv2_threshold, source.conv2_threshold)
    x = (torch.rand(4, 1, 2, 40, 40, generator=torch.Generator().manual_seed(2)) < 0.2).float()
    assert torch.equal(source(x).record.conv2.spikes, target(x).record.conv2.spikes)
    damaged = source.state_dict()
    damaged['conv2_threshold'] = torch.full((36,), -1.0)
    with pytest.raises(EncoderRuntimeError, match='conv2'):
        target.load_state_dict(damaged)


def test_gabor_filters_have_four_orientations_and_the_derived_mass() -> None:
    filters = gabor_filters(5)
    assert filters.shape == (4, 5, 5)
    assert float(filters.min()) == 0.0
    assert filters.amax(dim=(1, 2)).tolist() == pytest.approx([1.0] * 4)
    mass = filters.sum(dim=(1, 2))
    assert 6.4 <= float(mass.min()) <= float(mass.max()) < 6.85
    taps = (filters > 0).sum(dim=(1, 2))
    assert 11 <= int(taps.min()) <= int(taps.max()) <= 15
    # pi / 4 and 3 pi / 4 mirror each other, pi / 2 and pi are transposed.
    assert torch.allclose(filters[0], filters[2].flip(1), atol=1e-6)
    assert torch.allclose(filters[1], filters[3].T, atol=1e-6)


def test_dog_filters_are_a_signed_pair_without_mean() -> None:
    on, off = dog_filters(7)
    assert float(on.mean()) == pytest.approx(0, abs=1e-6)
    assert float(on[3, 3]) == float(on.max()) == pytest.approx(1.0)
    assert float(off[3, 3]) == float(off.min()) < 0


def test_initial_weights_are_seeded_and_have_the_published_spread() -> None:
    config = EncoderConfig.from_paper('default', seed=1)
    first, again = initial_weights(config), initial_weights(config)
    other = initial_weights(EncoderConfig.from_paper('default', seed=2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    assert float(first[1].mean()) == pytest.approx(0.8, abs=0.002)
    assert float(first[1].std()) == pytest.approx(0.01, abs=0.002)


def test_a_trace_refuses_what_it_cannot_hold() -> None:
    encoder = default()
    with pytest.raises(TraceError, match='No input 1'):
        trace_from_output(encoder(torch.zeros(1, 2, 8, 8)), batch=1)
    with pytest.raises(TraceError, match='256'):
        trace_from_output(encoder(torch.zeros(1, 2, 8, 8), n_timesteps=256))
