# SPDX-License-Identifier: Apache-2.0
"""Shapes, sizes, states and gradients of Spike2Former."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models import Spike2Former, Spike2FormerConfig
from spikeseg_ros.models.spike2former import Spike2FormerConfigError, preset
from spikeseg_ros.models.spike2former.neurons import Neuron, Pass
from spikeseg_ros.models.spike2former.sampling import deformable_sum
from spikeseg_ros.spiking.neurons import NeuronError

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMETERS = {
    'ade20k_v2': 34_361_112,
    'ade20k_v2_large': 42_364_432,
    'cityscapes_v2': 34_327_445,
    'cityscapes_v2_repo': 37_491_605,
    'voc_v2_4x4': 34_361_112,
    'ade20k_v3': 38_236_408,
    'tiny': 880_505,
    'small': 2_222_909,
}
PARTS = {
    'ade20k_v2': (14.751, 9.797, 9.516, 0.298),
    'ade20k_v2_large': (14.751, 12.961, 14.273, 0.379),
    'ade20k_v3': (18.627, 9.797, 9.516, 0.298),
}


def image(*shape: int, seed: int = 5) -> Tensor:
    """Return normalised noise in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameter_counts(name: str) -> None:
    with torch.device('meta'):
        network = Spike2Former(preset(name))
    assert network.parameter_count() == PARAMETERS[name]
    if name in PARTS:
        head = network.decode_head
        parts: list[nn.Module] = [network.backbone, head.pixel_decoder, head.transformer_decoder]
        counts = [sum(value.numel() for value in part.parameters()) / 1e6 for part in parts]
        counts.append(network.parameter_count() / 1e6 - sum(counts))
        assert tuple(round(count, 3) for count in counts) == PARTS[name]


@pytest.mark.parametrize('backbone', ['v2', 'v3'])
@pytest.mark.parametrize('layout', ['aligned', 'official'])
@pytest.mark.parametrize('size', [(40, 56), (33, 47), (17, 64)])
def test_any_size_and_a_batch_is_its_frames(
    backbone: str, layout: str, size: tuple[int, int], lively: Callable[..., Spike2Former]
) -> None:
    network = lively(backbone=backbone, layout=layout)
    images = image(2, 3, *size)
    with torch.inference_mode():
        both, logits = network(images), network.logits(images)
        half = (-(-size[0] // 2), -(-size[1] // 2))
        assert both.class_logits.shape == (5, 2, 7, 6)
        assert both.mask_logits.shape == (5, 2, 7, *half)
        assert logits.shape == (2, 5, *size)
        for index in range(2):
            one = network(images[index : index + 1])
            torch.testing.assert_close(one.class_logits[:, 0], both.class_logits[:, index])
            torch.testing.assert_close(one.mask_logits[:, 0], both.mask_logits[:, index])


def test_frames_leave_nothing_behind(lively: Callable[..., Spike2Former]) -> None:
    network = lively()
    with torch.inference_mode():
        first = network(image(1, 3, 32, 48))
        network(image(1, 3, 24, 24, seed=6))
        again = network(image(1, 3, 32, 48))
    assert torch.equal(first.mask_logits, again.mask_logits)
    assert first.state == ()


def test_repeats_of_a_frame_change_nothing(lively: Callable[..., Spike2Former]) -> None:
    with torch.inference_mode():
        once, four = (lively(steps=steps)(image(1, 3, 32, 48)) for steps in (1, 4))
    assert torch.equal(once.class_logits, four.class_logits)
    assert torch.equal(once.mask_logits, four.mask_logits)


class Remembering(nn.Module):
    """The published neuron: v stays inside until somebody resets it."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels, self.v = levels, 0.0

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        del run
        self.v = self.v + x
        spikes = torch.round(torch.clamp(self.v, 0, self.levels))
        self.v = self.v - spikes
        return spikes / self.levels


def remember(network: nn.Module) -> None:
    """Replace all neurons by such with a memory of their own."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Neuron):
                setattr(module, name, Remembering(child.levels))


@pytest.mark.parametrize('backbone', ['v2', 'v3'])
def test_a_stream_is_the_published_network_without_a_reset(
    backbone: str, lively: Callable[..., Spike2Former]
) -> None:
    network, other = lively(backbone=backbone), lively(backbone=backbone)
    remember(other)
    frames = [image(1, 3, 32, 48, seed=seed) for seed in (1, 2, 3)]
    state, outputs = None, []
    with torch.inference_mode():
        for frame in frames:
            output = network(frame, state, keep=True)
            state = output.state
            outputs.append(output)
            want = other(frame)
            torch.testing.assert_close(output.class_logits, want.class_logits, rtol=0, atol=1e-9)
            torch.testing.assert_close(output.mask_logits, want.mask_logits, rtol=0, atol=1e-9)
        alone = network(frames[1])
    assert state is not None
    assert len(state) == len(network.neuron_layers())
    assert (alone.class_logits - outputs[1].class_logits).abs().max() > 1e-3


def test_a_state_of_another_size_is_refused(lively: Callable[..., Spike2Former]) -> None:
    network = lively()
    with torch.inference_mode():
        state = network(image(1, 3, 32, 48), keep=True).state
        with pytest.raises(NeuronError, match='begin with a new state'):
            network(image(1, 3, 48, 48), state)
        with pytest.raises(Spike2FormerConfigError, match='tensors, got 3'):
            network(image(1, 3, 32, 48), state[:3])


@pytest.mark.parametrize('shape', [(3, 32, 32), (1, 1, 32, 32), (0, 3, 32, 32)])
def test_other_inputs_are_refused(
    shape: tuple[int, ...], lively: Callable[..., Spike2Former]
) -> None:
    with pytest.raises(Spike2FormerConfigError, match='normalised images'):
        lively()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize('backbone', ['v2', 'v3'])
def test_gradients_reach_every_parameter(
    backbone: str, lively: Callable[..., Spike2Former]
) -> None:
    network = lively(backbone=backbone).train()
    output = network(image(2, 3, 40, 56))
    (output.class_logits.square().mean() + output.mask_logits.square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        # A bias in front of a normalisation has none by nature.
        conv_bias = name.endswith('.bias') and parameter.grad.abs().max() < 1e-9
        assert conv_bias or parameter.grad.abs().max() > 0, name


def test_a_fresh_network_begins_as_published() -> None:
    torch.manual_seed(1)
    network = Spike2Former(preset('tiny'))
    head = network.decode_head
    pixels = head.pixel_decoder
    assert all((layer.gamma1 == 1e-6).all() for layer in pixels.encoder.layers)
    assert not pixels.encoder.layers[0].dcn.offset[0].weight.any()
    assert not pixels.encoder.layers[1].dcn.mask[0].bias.any()
    bound = (3 / network.config.width) ** 0.5
    assert bound * 0.9 < pixels.mask_feature.weight.abs().max() <= bound
    assert not head.cls_embed.bias.any()
    assert head.cls_embed.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert head.w.item() == 1
    assert head.query_feat.weight.std().item() == pytest.approx(1, rel=0.1)


def test_normalised_takes_bytes() -> None:
    config = preset('tiny', mean=(10, 20, 30), std=(1, 2, 4))
    images = torch.tensor([11, 24, 42], dtype=torch.uint8).view(1, 3, 1, 1)
    got = Spike2Former(config).normalised(images)
    assert got.flatten().tolist() == [1, 2, 3]


def test_sampling_follows_its_formula() -> None:
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(2, 6, 5, 4, generator=generator, dtype=torch.float64)
    offset = torch.randn(2, 5, 4, 2, 9, 2, generator=generator, dtype=torch.float64) * 2
    weight = torch.rand(2, 5, 4, 2, 9, generator=generator, dtype=torch.float64)
    got = deformable_sum(value, offset, weight)
    want = torch.zeros_like(got)
    # Zeros around the map and no point further away than the border of the padded map.
    padded = F.pad(value, (20, 20, 20, 20))
    for b, y, x, g, k in itertools.product(range(2), range(5), range(4), range(2), range(9)):
        ox, oy = offset[b, y, x, g, k].tolist()
        px, py = x + k // 3 - 1 + ox + 20, y + k % 3 - 1 + oy + 20
        left, top = int(px), int(py)
        fx, fy = px - left, py - top
        maps = padded[b, 3 * g : 3 * g + 3]
        sample = (
            maps[:, top, left] * (1 - fx) * (1 - fy)
            + maps[:, top, left + 1] * fx * (1 - fy)
            + maps[:, top + 1, left] * (1 - fx) * fy
            + maps[:, top + 1, left + 1] * fx * fy
        )
        want[b, 3 * g : 3 * g + 3, y, x] += weight[b, y, x, g, k] * sample
    torch.testing.assert_close(got, want)


def test_every_layer_is_counted(lively: Callable[..., Spike2Former]) -> None:
    network = lively(backbone='v2')
    layers: dict[str, tuple[Any, int | None]] = {
        name: (module, levels) for name, module, levels in network.energy_layers()
    }
    weights = {
        name for name, module in network.named_modules()
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear))
    }  # fmt: skip
    assert set(layers) == weights
    inputs: dict[str, Tensor] = {}
    for name, (module, _) in layers.items():
        module.register_forward_hook(
            lambda _module, args, _output, name=name: inputs.__setitem__(name, args[0])
        )
    with torch.inference_mode():
        network(image(1, 3, 40, 56))
    for name, (_, levels) in layers.items():
        counts = inputs[name] * (levels or network.config.levels)
        spikes = bool((counts == counts.round()).all()) and bool((counts >= 0).all())
        assert spikes == (levels is not None), name


def test_presets_can_be_changed_and_refuse_nonsense() -> None:
    assert preset('voc_v2_4x4', classes=20).classes == 20
    for changes, message in (
        ({'levels': 0}, 'levels'),
        ({'width': 40, 'groups': 16}, 'multiple of 16'),
        ({'dims': (64, 128, 250, 360)}, 'multiple of 8'),
        ({'layers': 3}, 'Unknown network option'),
        ({'layout': 'other'}, 'layout'),
        ({'queries': 3.5}, 'queries'),
    ):
        with pytest.raises(Spike2FormerConfigError, match=message):
            preset('ade20k_v2', **changes)
    with pytest.raises(Spike2FormerConfigError, match='there are ade20k_v2'):
        preset('nothing')


def test_a_published_configuration_must_be_complete() -> None:
    with pytest.raises(Spike2FormerConfigError, match='lacks'):
        Spike2FormerConfig.from_published({'backbone': {'type': 'Spiking_vit_MetaFormer'}})
    other = {'backbone': {'type': 'ResNet'}, 'decode_head': {}}
    with pytest.raises(Spike2FormerConfigError, match='not known'):
        Spike2FormerConfig.from_published(other)
