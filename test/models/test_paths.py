# SPDX-License-Identifier: Apache-2.0
"""The step-by-step definition, the folded path and the event-driven kernel agree bit for bit."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from spikeseg_ros.models.encoder import (
    EncoderConfig,
    EncoderOutput,
    EncoderRuntimeError,
    EncoderState,
    LayerConfig,
    SilentLayerWarning,
    SpikeSEGEncoder,
    trace_from_output,
)
from spikeseg_ros.models.encoder_config import EncoderConfigError
from spikeseg_ros.models.event_encoder import EventDrivenEncoder
from spikeseg_ros.spiking.trace import SpikeTrace

LAYERS = ('conv1', 'pool1', 'conv2', 'pool2', 'conv3')


def learnt(config: EncoderConfig, seed: int = 5) -> SpikeSEGEncoder:
    """Build a network with sparse weights on which every layer fires, but not everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', SilentLayerWarning)
        encoder = SpikeSEGEncoder(config)
        generator = torch.Generator().manual_seed(seed)
        high = 2.0 * config.conv2.out_channels
        for name, share, theta in (('conv2', 0.3, 6.0), ('conv3', 0.15, high)):
            shape = getattr(encoder, name).weight.shape
            values = torch.rand(shape, generator=generator)
            on = torch.rand(shape, generator=generator) < share
            encoder.set_weights(**{name: torch.where(on, 0.5 + 0.5 * values, 0.1 * values)})
            if getattr(config, name).threshold_scale == 'absolute':
                encoder.set_threshold(name, theta)
    return encoder


def random_input(
    encoder: SpikeSEGEncoder, size: tuple[int, int], density: float, batch: int = 1, steps: int = 6
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(round(1000 * density) + size[0])
    shape = (steps, batch, encoder.config.input_channels, *size)
    return (torch.rand(shape, generator=generator) < density).float()


def corners(encoder: SpikeSEGEncoder, size: tuple[int, int]) -> torch.Tensor:
    """Spikes only in the four corners and along one edge, with steps of silence between."""
    x = torch.zeros(6, 1, encoder.config.input_channels, *size)
    for t in (0, 1, 3):
        x[t, :, :, :4, :4] = x[t, :, :, -4:, -4:] = 1
        x[t, :, :, :3, -4:] = x[t, :, :, -3:, :4] = 1
    x[5, :, 0, -1] = 1
    return x


def to_bytes(x: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(x[:, 0].permute(0, 2, 3, 1).to(torch.uint8).numpy())


def assert_same_output(left: EncoderOutput, right: EncoderOutput) -> None:
    for layer in LAYERS:
        ours, theirs = getattr(left.record, layer), getattr(right.record, layer)
        fired = ours.spikes
        assert torch.equal(fired, theirs.spikes), layer
        for name in ours._fields:
            a, b = getattr(ours, name), getattr(theirs, name)
            # Of a silent pool the start of the charge means nothing.
            gate = fired if layer.startswith('pool') else torch.ones_like(fired)
            assert torch.equal(a[gate], b[gate]), (layer, name)
    assert_same_state(left.state, right.state)


def assert_same_state(left: EncoderState, right: EncoderState) -> None:
    for ours, theirs in zip(left, right, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


def assert_same_trace(left: SpikeTrace, right: SpikeTrace) -> None:
    assert left.geometry == right.geometry
    assert left.steps == right.steps
    assert left.counts == right.counts
    for name in ('inputs', 'pool1', 'pool2'):
        assert np.array_equal(getattr(left, name), getattr(right, name)), name
    for name in ('pool1', 'pool2'):
        fired = getattr(left, name) > 0
        a, b = getattr(left, f'{name}_since'), getattr(right, f'{name}_since')
        assert np.array_equal(a[fired], b[fired]), name
    for item in dataclasses.fields(left.classes):
        a, b = getattr(left.classes, item.name), getattr(right.classes, item.name)
        assert a.dtype == b.dtype, item.name
        assert np.array_equal(a, b), item.name


def variants() -> dict[str, EncoderConfig]:
    named = {
        f'{name}-{classes}': EncoderConfig.from_paper(name, n_classes=classes)
        for name in ('igarss2023', 'igarss2023-scaled', 'spikeseg', 'default')
        for classes in (1, 3)
    }
    base = EncoderConfig.from_paper('default')
    named['dog-signed'] = dataclasses.replace(base, conv1_filters='dog')
    named['no-leak-mode'] = EncoderConfig(
        LayerConfig(3, 3, 2.0, leak_mode='none'),
        LayerConfig(7, 3, 4.0, 0.5, fire_once=True, competition=True),
        LayerConfig(2, 5, 6.0, fire_once=True),
        input_channels=2,
        pool1_kernel_size=3,
        pool1_stride=2,
        pool2_kernel_size=3,
        pool2_stride=1,
        conv1_filters='dog',
    )
    named['once'] = dataclasses.replace(
        base, conv1=dataclasses.replace(base.conv1, fire_once=True)
    )
    return named


@pytest.mark.parametrize('name', variants())
def test_all_paths_agree_on_random_corner_and_streamed_windows(name: str) -> None:
    encoder = learnt(variants()[name])
    fast = EventDrivenEncoder.from_encoder(encoder)
    total = 0
    for size in ((37, 45), (48, 40)):
        state = fast_state = None
        windows = [random_input(encoder, size, density) for density in (0.25, 0.02, 0.1)]
        for x in (windows[0], torch.zeros_like(windows[0]), *windows[1:], corners(encoder, size)):
            plain = encoder(x, stepwise=True, state=state)
            folded = encoder(x, state=state)
            assert_same_output(plain, folded)
            trace, fast_state = fast.encode(to_bytes(x), fast_state, keep_state=True)
            assert_same_trace(trace, trace_from_output(plain))
            assert fast_state is not None
            assert_same_state(fast_state, plain.state)
            state = plain.state
            total += sum(trace.counts.values()) - trace.counts['input']
        alone, _ = fast.encode(to_bytes(windows[2]))
        assert_same_trace(alone, trace_from_output(encoder(windows[2])))
    # Only the literal preset stays silent.
    assert (total == 0) == (name.rpartition('-')[0] == 'igarss2023')


@pytest.mark.parametrize('name', ['default-3', 'spikeseg-1', 'no-leak-mode'])
def test_a_batch_equals_its_inputs_one_by_one(name: str) -> None:
    encoder = learnt(variants()[name])
    x = random_input(encoder, (33, 47), 0.15, batch=3)
    together = encoder(x)
    assert_same_output(encoder(x, stepwise=True), together)
    assert together.has_spikes
    for b in range(3):
        single = encoder(x[:, b : b + 1])
        assert_same_trace(trace_from_output(single), trace_from_output(together, b))


@pytest.mark.parametrize('name', ['default-1', 'no-leak-mode', 'igarss2023-scaled-1'])
def test_two_windows_with_state_equal_one_long_window(name: str) -> None:
    encoder = learnt(variants()[name])
    x = random_input(encoder, (33, 47), 0.12, steps=9)
    whole = encoder(x)
    first = encoder(x[:4])
    second = encoder(x[4:], state=first.state)
    carried = encoder(x[4:], reset_state=False) if encoder(x[:4]) else None
    assert carried is not None
    assert whole.n_classification_spikes > first.n_classification_spikes
    for key, spikes in whole.layer_spikes.items():
        assert torch.equal(spikes, torch.cat((first.layer_spikes[key], second.layer_spikes[key])))
    assert_same_output(second, carried)
    assert_same_state(whole.state, second.state)
    late = whole.record.conv3.spikes[4:]
    # Charge from before the second window counts as present since its first step.
    expected = (whole.record.conv3.since[4:][late] - 4).clamp(min=0)
    assert torch.equal(second.record.conv3.since[late], expected)


def test_the_state_given_is_not_changed() -> None:
    encoder = learnt(variants()['default-1'])
    x = random_input(encoder, (33, 47), 0.2)
    state = encoder(x).state
    kept = [part.clone() for layer in state for part in layer]
    encoder(x, state=state)
    encoder(x, state=state, stepwise=True)
    EventDrivenEncoder.from_encoder(encoder).encode(to_bytes(x), state, keep_state=True)
    assert all(torch.equal(a, b) for a, b in zip(kept, [p for s in state for p in s], strict=True))


def test_counts_weigh_more_but_are_recorded_as_spikes() -> None:
    encoder = learnt(variants()['default-1'])
    x = random_input(encoder, (33, 47), 0.05) * torch.randint(1, 5, (6, 1, 2, 33, 47))
    trace, _ = EventDrivenEncoder.from_encoder(encoder).encode(to_bytes(x))
    assert_same_trace(trace, trace_from_output(encoder(x)))
    assert int(trace.inputs.max()) == 1


def test_a_trace_stays_valid_for_one_more_call() -> None:
    encoder = learnt(variants()['default-1'])
    fast = EventDrivenEncoder.from_encoder(encoder)
    windows = [random_input(encoder, (33, 47), density) for density in (0.2, 0.3)]
    first, _ = fast.encode(to_bytes(windows[0]))
    fast.encode(to_bytes(windows[1]))
    assert_same_trace(first, trace_from_output(encoder(windows[0])))


def test_the_class_threshold_scale_of_a_call() -> None:
    encoder = learnt(variants()['default-1'])
    fast = EventDrivenEncoder.from_encoder(encoder)
    x = random_input(encoder, (33, 47), 0.06)
    trace, _ = fast.encode(to_bytes(x), class_threshold_scale=1.5)
    theta = 1.5 * encoder.conv3_threshold
    assert_same_trace(trace, trace_from_output(encoder(x, layer_thresholds={'conv3': theta})))
    plain, _ = fast.encode(to_bytes(x))
    assert len(plain.classes) > len(trace.classes) > 0
    replaced = EventDrivenEncoder.from_encoder(encoder, {'conv3': theta}, fire_once=False)
    reference = encoder(x, layer_thresholds={'conv3': theta}, fire_once=False)
    assert_same_trace(replaced.encode(to_bytes(x))[0], trace_from_output(reference))


def test_the_event_driven_copy_does_not_follow_its_encoder() -> None:
    encoder = learnt(variants()['default-1'])
    fast = EventDrivenEncoder.from_encoder(encoder)
    x = random_input(encoder, (33, 47), 0.2)
    expected = trace_from_output(encoder(x))
    encoder.set_weights(conv2=encoder.weights[1] / 2)
    encoder.set_threshold('conv3', 200.0)
    assert_same_trace(fast.encode(to_bytes(x))[0], expected)


def test_inputs_need_not_be_contiguous_or_aligned() -> None:
    encoder = learnt(variants()['default-1'])
    fast = EventDrivenEncoder.from_encoder(encoder)
    frames = to_bytes(random_input(encoder, (33, 47), 0.2))
    expected, _ = fast.encode(frames)
    raw = np.zeros(frames.size + 3, np.uint8)
    shifted = raw[3:].reshape(frames.shape)
    shifted[:] = frames
    assert_same_trace(fast.encode(shifted)[0], expected)
    padded = np.zeros((*frames.shape[:3], 4), np.uint8)
    padded[..., ::2] = frames
    assert_same_trace(fast.encode(padded[..., ::2])[0], expected)


@pytest.mark.parametrize(
    ('inputs', 'text'),
    [
        (np.zeros((5, 32, 32, 1), np.uint8), r'\(T, H, W, 2\)'),
        (np.zeros((5, 32, 32, 2), np.float32), 'float32'),
        (np.zeros((32, 32, 2), np.uint8), 'shape'),
        (np.zeros((0, 32, 32, 2), np.uint8), 'steps'),
        (np.zeros((256, 8, 8, 2), np.uint8), 'steps'),
        (np.zeros((5, 3, 3, 2), np.uint8), 'too small'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: np.ndarray, text: str) -> None:
    fast = EventDrivenEncoder.from_encoder(learnt(variants()['default-1']))
    with pytest.raises(EncoderRuntimeError, match=text):
        fast.encode(inputs)
    with pytest.raises(EncoderRuntimeError, match='class_threshold_scale'):
        fast.encode(np.zeros((5, 32, 32, 2), np.uint8), class_threshold_scale=float('nan'))


def test_a_state_of_another_size_is_refused() -> None:
    encoder = learnt(variants()['default-1'])
    state = encoder(random_input(encoder, (32, 32), 0.1)).state
    fast = EventDrivenEncoder.from_encoder(encoder)
    with pytest.raises(EncoderRuntimeError, match='reset the state'):
        fast.encode(np.zeros((5, 40, 32, 2), np.uint8), state)
    with pytest.raises(EncoderRuntimeError, match='reset the state'):
        encoder(random_input(encoder, (40, 32), 0.1), state=state)


def test_the_multiplicative_leak_is_left_to_the_dense_paths() -> None:
    config = EncoderConfig(LayerConfig(4, 5, 2.0, 0.1, leak_mode='multiplicative'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', SilentLayerWarning)
        encoder = SpikeSEGEncoder(config)
    x = random_input(encoder, (32, 32), 0.2)
    assert_same_output(encoder(x, stepwise=True), encoder(x))
    with pytest.raises(EncoderConfigError, match='multiplicative'):
        EventDrivenEncoder.from_encoder(encoder)
