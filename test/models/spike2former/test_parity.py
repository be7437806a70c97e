# SPDX-License-Identifier: Apache-2.0
"""The network against tensors of the published one, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from spikeseg_ros.models.spike2former import Spike2Former, preset

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

FILES = ('tiny_v2_T1_64x64', 'tiny_v2_T1_D4_64x64', 'tiny_v3_T1_64x64')
CLOSE = 1e-9


def record(network: Spike2Former, names: list[str]) -> dict[str, Any]:
    """Return a mapping that the next pass fills with the outputs of modules."""
    seen: dict[str, Any] = {}

    def listen(name: str) -> None:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output: seen.__setitem__(name, output)
        )

    for name in names:
        listen(name)
    return seen


def check(got: Tensor, want: Tensor) -> None:
    """Compare without the axis of the repeats, which is 1 in the files."""
    assert got.numel() == want.numel()
    torch.testing.assert_close(got.reshape(want.shape), want.double(), rtol=0, atol=CLOSE)


@pytest.mark.parametrize('name', FILES)
def test_outputs_are_those_of_the_published_network(
    name: str, reference: Callable[[str], Any], published: Callable[[str], Spike2Former]
) -> None:
    file, network = reference(name), published(name)
    with torch.inference_mode():
        output = network(file['input'])
        check(output.class_logits, file['all_cls_scores'])
        check(output.mask_logits, file['all_mask_preds'])
        check(network.logits(file['input']), file['seg_logits'])
    assert output.state == ()


@pytest.mark.parametrize('name', FILES)
def test_every_neuron_fires_as_in_the_published_network(
    name: str, reference: Callable[[str], Any], published: Callable[[str], Spike2Former]
) -> None:
    file, network = reference(name), published(name)
    neurons = file['neurons']
    assert set(network.neuron_layers()) == set(neurons)
    seen = record(network, list(neurons))
    with torch.inference_mode():
        network(file['input'])
    assert list(seen) == list(neurons)  # in the same order of execution
    for neuron, want in neurons.items():
        assert network.neuron_layers()[neuron].levels == want['D']
        check(seen[neuron], want['out'])


@pytest.mark.parametrize('name', FILES)
def test_features_between_are_those_of_the_published_network(
    name: str, reference: Callable[[str], Any], published: Callable[[str], Spike2Former]
) -> None:
    file, network = reference(name), published(name)
    pixels = 'decode_head.pixel_decoder'
    encoder = [f'{pixels}.encoder.layers.{index}' for index in range(2)]
    decoder = [f'decode_head.transformer_decoder.layers.{index}' for index in range(4)]
    seen = record(network, ['backbone', pixels, *encoder, *decoder])
    with torch.inference_mode():
        network(file['input'])
    for got, want in zip(seen['backbone'], file['backbone_feats'], strict=True):
        check(got, want)
    modules = file['modules']
    for index, layer in enumerate(encoder):
        check(seen[layer].permute(0, 2, 3, 1), modules[f'enc_layer_{index}'])
    for index, layer in enumerate(decoder):
        check(seen[layer], modules[f'dec_layer_{index}'])
    check(seen[pixels].mask_features, modules['pixel_decoder']['mask_features'])
    check(seen[pixels].memory, modules['pixel_decoder']['memory'])
    for got, want in zip(
        seen[pixels].multi_scale, modules['pixel_decoder']['multi_scale'], strict=True
    ):
        check(got, want)


def test_the_aligned_layout_is_another_network(
    reference: Callable[[str], Any], published: Callable[[str], Spike2Former]
) -> None:
    file, network = reference(FILES[0]), published(FILES[0])
    values = {**vars(network.config), 'layout': 'aligned'}
    aligned = Spike2Former(type(network.config)(**values)).double().eval()
    aligned.load_published(file['state_dict'])
    with torch.inference_mode():
        output = aligned(file['input'])
    difference = output.class_logits.squeeze() - file['all_cls_scores'].squeeze()
    assert difference.abs().max() > 1


@pytest.mark.parametrize(
    ('name', 'list_name'),
    [
        ('ade20k_v2', 'ade20k_sdtv2_T1'),
        ('ade20k_v2_large', 'ade20k_sdtv2_L'),
        ('ade20k_v3', 'ade20k_sdtv3_19M'),
    ],
)
def test_keys_and_shapes_are_the_published_ones(
    name: str, list_name: str, keys: Callable[[str], dict[str, str]]
) -> None:
    with torch.device('meta'):
        network = Spike2Former(preset(name))
    own = {key: str(tuple(value.shape)) for key, value in network.state_dict().items()}
    assert own == keys(list_name)
