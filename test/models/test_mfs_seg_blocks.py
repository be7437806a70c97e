# SPDX-License-Identifier: Apache-2.0
"""Units against the reference tensors of published spiking residual blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spikeseg_ros.models.mfs_seg_blocks import BRANCH_GAIN, GAIN, Pass, Unit
from spikeseg_ros.spiking.surrogate import SurrogateParams

PARITY = Path(__file__).resolve().parents[3] / 'shared/data/parity/components_ems.pt'


@pytest.fixture(scope='module')
def reference() -> dict[str, Any]:
    if not PARITY.exists():
        pytest.skip('reference tensors of published blocks are not here')
    content: dict[str, Any] = torch.load(PARITY, weights_only=True)
    return content


def unit(
    part: dict[str, Any], conv: str, norm: str, *, neuron: bool = True, stride: int = 1
) -> Unit:
    """Return a unit with the weights of one convolution and normalisation of a block."""
    state = part['state_dict']
    weight = state[f'{conv}.weight']
    outputs, inputs, kernel, _ = weight.shape
    result = Unit(
        inputs, outputs, kernel, SurrogateParams('lif') if neuron else None, stride=stride
    )
    values = {
        name.removeprefix(f'{norm}.'): value
        for name, value in state.items()
        if name.startswith(f'{norm}.')
    }
    assert result.bn is not None
    result.bn.load_state_dict(values)
    result.conv.load_state_dict({'weight': weight})
    return result.eval()


def pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


def residual(part: dict[str, Any], x: Tensor, run: Pass) -> Tensor:
    first = unit(part, 'residual_function.1', 'residual_function.2.bn', stride=2)
    second = unit(part, 'residual_function.4', 'residual_function.5.bn')
    result: Tensor = second(first(x, run), run)
    return result


def shortcut(name: str, part: dict[str, Any], x: Tensor, run: Pass) -> Tensor:
    if name == 'BasicBlock_2':
        result: Tensor = unit(part, 'shortcut.2', 'shortcut.3.bn')(pooled(x), run)
        return result
    if name == 'BasicBlock_ms':
        result = unit(part, 'shortcut.1', 'shortcut.2.bn', neuron=False)(pooled(x), run)
        return result
    return pooled(torch.cat([unit(part, 'shortcut.1', 'shortcut.2.bn')(x, run), x], dim=1))


@pytest.mark.parametrize(
    'name', ['BasicBlock_2', 'Concat_res2', 'BasicBlock_ms', 'ConcatBlock_ms']
)
@pytest.mark.parametrize('folded', [False, True])
def test_blocks_of_units_equal_the_published_ones(
    reference: dict[str, Any], name: str, folded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = reference[name]
    if folded:
        plain = unit

        def fold(*args: Any, **options: Any) -> Unit:
            result = plain(*args, **options)
            result.fold()
            return result

        monkeypatch.setitem(globals(), 'unit', fold)
    x = part['input'].flatten(0, 1)
    run = Pass(steps=reference['T'])
    with torch.no_grad():
        y = residual(part, x, run) + shortcut(name, part, x, run)
    torch.testing.assert_close(y.view_as(part['output']), part['output'], rtol=0, atol=2e-6)


def test_convolution_sees_time_as_batch(reference: dict[str, Any]) -> None:
    part = reference['Snn_Conv2d']
    conv = Unit(8, 12, 3, None, stride=2, gain=None)
    conv.conv.load_state_dict({'weight': part['state_dict']['weight'], 'bias': torch.zeros(12)})
    with torch.no_grad():
        y = conv(part['input'].flatten(0, 1), Pass(steps=5))
    torch.testing.assert_close(y.view_as(part['output']), part['output'], rtol=0, atol=1e-6)


def test_gains_at_the_start_are_the_published_ones(reference: dict[str, Any]) -> None:
    for name, gain in (('batch_norm_2d', GAIN['lif']), ('batch_norm_2d1', BRANCH_GAIN['lif'])):
        state = reference[name]['init_state_dict']
        assert torch.equal(state['bn.weight'], torch.full((8,), gain))
        assert not bool(state['bn.bias'].any())
