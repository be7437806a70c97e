# SPDX-License-Identifier: Apache-2.0
"""Forms for inference give what the plain network gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from spikeseg_ros.models.spike2former import semantic
from spikeseg_ros.models.spike2former.binary import BinaryLayer
from spikeseg_ros.models.spike2former.blocks import RepConv, SpikeAttention
from spikeseg_ros.models.spike2former.neurons import sub_steps
from spikeseg_ros.models.spike2former.precision import compare_precision
from spikeseg_ros.models.spike2former.sampling import deformable_sum
from spikeseg_ros.models.spike2former.sampling_kernels import sampled_sum
from spikeseg_ros.spiking.energy import measure_energy

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikeseg_ros.models import Spike2Former

FILES = ('tiny_v2_T1_64x64', 'tiny_v2_T1_D4_64x64', 'tiny_v3_T1_64x64')
SHAPES = ({'backbone': 'v2', 'levels': 4}, {'backbone': 'v3', 'layout': 'official'})
FORMS: dict[str, Callable[[Spike2Former], Spike2Former]] = {
    'folded': lambda network: network.folded(),
    'dense': lambda network: network.folded(dense=True),
    'channels last': lambda network: network.folded().to(memory_format=torch.channels_last),
    'binary': lambda network: network.binary(),
}


def image(*shape: int) -> Tensor:
    """Return normalised noise in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def check(network: Spike2Former, form: str, frame: Tensor) -> None:
    """Compare a form with the plain network."""
    other = FORMS[form](network)
    if form == 'channels last':
        frame = frame.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        want, got = network(frame), other(frame)
        torch.testing.assert_close(got.class_logits, want.class_logits, rtol=0, atol=1e-9)
        torch.testing.assert_close(got.mask_logits, want.mask_logits, rtol=0, atol=1e-9)
        logits = other.logits(frame)
        torch.testing.assert_close(logits, network.logits(frame), rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('form', FORMS)
def test_forms_of_published_networks(
    name: str,
    form: str,
    reference: Callable[[str], dict[str, Any]],
    published: Callable[[str], Spike2Former],
) -> None:
    check(published(name), form, reference(name)['input'])


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('form', FORMS)
def test_forms_of_other_networks(
    shape: dict[str, Any], form: str, lively: Callable[..., Spike2Former]
) -> None:
    check(lively(**shape), form, image(2, 3, 33, 50))


def test_a_folded_network_has_no_normalisation_left(lively: Callable[..., Spike2Former]) -> None:
    network = lively()
    plain = network.state_dict()
    for dense in (False, True):
        left = [
            module
            for module in network.folded(dense=dense).modules()
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, RepConv))
        ]
        assert not left
    assert all(torch.equal(value, plain[name]) for name, value in network.state_dict().items())


def test_the_last_mask_alone_is_the_last_of_all(lively: Callable[..., Spike2Former]) -> None:
    network, frame = lively(), image(1, 3, 40, 56)
    with torch.inference_mode():
        every, last = network(frame), network(frame, last_only=True)
    assert last.class_logits.shape[0] == last.mask_logits.shape[0] == 1
    torch.testing.assert_close(last.class_logits[0], every.class_logits[-1])
    torch.testing.assert_close(last.mask_logits[0], every.mask_logits[-1])


def test_binary_layers_see_nothing_but_0_and_1(lively: Callable[..., Spike2Former]) -> None:
    network = lively(backbone='v2')
    binary = network.binary()
    seen: dict[str, bool] = {}
    for name, module in binary.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            module.register_forward_hook(
                lambda _module, args, _output, name=name: seen.__setitem__(
                    name, seen.get(name, True) and bool(((args[0] == 0) | (args[0] == 1)).all())
                )
            )
    layers = [module for module in binary.modules() if isinstance(module, BinaryLayer)]
    with torch.inference_mode():
        binary(image(1, 3, 40, 56))
    # The image, and in V2 the pointwise part behind each depthwise 7 x 7, are real values.
    real = {name for name, good in seen.items() if not good}
    stages = ('1_1', '1_2', '2_1', '2_2')
    assert real == {
        'backbone.downsample1_1.encode_conv',
        *(f'backbone.ConvBlock{stage}.0.Conv.pwconv2' for stage in stages),
    }
    assert len(layers) > 60


def test_sub_steps_add_up() -> None:
    counts = torch.tensor([0, 1, 3, 5, 8.0])
    maps = list(sub_steps(counts / 8, 8))
    assert len(maps) == 8
    assert all(bool(((x == 0) | (x == 1)).all()) for x in maps)
    assert torch.equal(torch.stack(maps).sum(0), counts)


def test_attention_in_linear_time_is_that_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (
        torch.randint(0, 9, (2, 4, size, count), generator=generator).double() / 8
        for size, count in ((5, 11), (5, 7), (6, 7))
    )
    want = 0.25 * (q.transpose(-2, -1) @ k @ v.transpose(-2, -1)).transpose(-2, -1)
    assert torch.equal(SpikeAttention(0.25, 8)(q, k, v), want)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_the_sampling_kernel_equals_its_definition(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(2, 12, 7, 5, generator=generator, dtype=dtype)
    # Some points far outside, some exactly on pixels.
    offset = torch.randn(2, 7, 5, 3, 9, 2, generator=generator, dtype=dtype) * 3
    offset[0, ..., :4, :] = offset[0, ..., :4, :].round()
    weight = torch.randint(0, 5, (2, 7, 5, 3, 9), generator=generator).to(dtype) / 4
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    got = sampled_sum(value, offset, weight)
    want = deformable_sum(value, offset, weight)
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance)


def test_half_precision_is_compared_with_full(lively: Callable[..., Spike2Former]) -> None:
    network = lively(backbone='v3').float()
    frames = image(2, 3, 40, 56).float()
    effect = compare_precision(network, [frames[:1], frames[1:]], torch.bfloat16)
    assert effect.pixels == 2 * 40 * 56
    assert 0 < effect.same <= 1
    assert effect.difference > 0
    same = compare_precision(network, [frames], torch.float32)
    assert (same.same, same.difference) == (1, 0)


def test_work_is_counted_on_the_dense_form(lively: Callable[..., Spike2Former]) -> None:
    network = lively(backbone='v2')
    frame = image(1, 3, 40, 56)
    plain = measure_energy(network, [frame])
    dense = measure_energy(network.folded(dense=True), [frame])
    kinds = {layer.kind for layer in plain.layers}
    assert {'conv', 'linear', 'attention', 'sampling', 'mask product'} <= kinds
    real = [layer.name for layer in dense.layers if layer.rate is None]
    assert all('Conv.pwconv2' in n or 'bilinear' in n or 'downsample1_1' in n for n in real), real


@pytest.mark.parametrize('size', [(40, 56), (33, 49), (9, 7), (64, 80)])
def test_masks_are_enlarged_some_rows_at_a_time(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    classes = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    half = (-(-size[0] // 2), -(-size[1] // 2))
    masks = torch.randn(2, 5, *half, generator=generator, dtype=torch.float64)
    want = semantic(classes, masks.requires_grad_(), size)
    with torch.inference_mode():
        got = semantic(classes, masks, size)
    assert want.requires_grad
    torch.testing.assert_close(got, want.detach(), rtol=0, atol=1e-12)
