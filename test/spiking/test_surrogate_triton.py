# SPDX-License-Identifier: Apache-2.0
"""The kernels for GPUs against the definition of the neurons: on a GPU, or interpreted."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from spikeseg_ros.spiking.surrogate import SurrogateParams, surrogate_scan, surrogate_scan_fused

KINDS = [
    SurrogateParams(kind, decay, levels=levels)
    for kind, decay, levels in itertools.product(('lif', 'integer'), (0.25, 0.3), (4, 3))
]
SHAPES = ((3, 2, 5, 7, 9), (1, 3000), (4, 1, 8, 6, 9))
has_triton = importlib.util.find_spec('triton') is not None


def random(shape: tuple[int, ...], device: str, last: bool) -> Tensor:
    """Return currents, in some cases with the channels last in memory."""
    x = torch.randn(shape, device=device) * 2
    return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3) if last else x


def check_forward(device: str) -> None:
    """Compare spikes, potentials and masks; half precision with the same values in float32."""
    from spikeseg_ros.spiking import surrogate_triton as kernels

    torch.manual_seed(1)
    for params, shape in itertools.product(KINDS, SHAPES):
        x = random(shape, device, last=shape[0] == 4)
        before = torch.randn(shape[1:], device=device)
        assert kernels.supports(x)
        assert not kernels.supports(x[..., ::2])
        spikes, after = surrogate_scan(x, before, params)
        got = kernels.scan_forward(x, before, params, learn=True)
        assert torch.equal(got[0], spikes)
        assert got[0].stride() == x.stride()
        assert torch.equal(got[1], after)
        rested, _, nothing = kernels.scan_forward(x, None, params, keep=False)
        assert torch.equal(rested, surrogate_scan(x, torch.zeros_like(before), params)[0])
        assert not len(nothing)
        short = x.half()
        half = kernels.scan_forward(short, before, params)
        want = surrogate_scan(short.float(), before, params)
        assert half[0].dtype == torch.float16
        assert torch.equal(half[0], want[0].half())
        assert torch.equal(half[1], want[1])


def check_backward(device: str) -> None:
    """Compare gradients with those of the definition of the fused scan on the CPU."""
    from spikeseg_ros.spiking import surrogate_triton as kernels

    torch.manual_seed(2)
    for params, shape in itertools.product(KINDS, SHAPES):
        x, before = torch.randn(shape) * 2, torch.randn(shape[1:])
        x.requires_grad_()
        before.requires_grad_()
        spikes, after = surrogate_scan_fused(x, before, params)
        grads, flow = torch.randn(shape), torch.randn(shape[1:])
        ((spikes * grads).sum() + (after * flow).sum()).backward()  # type: ignore[no-untyped-call]
        there, start = x.detach().to(device), before.detach().to(device)
        fired, _, passing = kernels.scan_forward(there, start, params, learn=True)
        to_x, to_before = kernels.scan_backward(
            grads.to(device), flow.to(device), passing, fired != 0, params
        )
        assert x.grad is not None
        assert before.grad is not None
        torch.testing.assert_close(to_x.cpu(), x.grad, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(to_before.cpu(), before.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(not has_triton, reason='triton is not installed (it comes with CUDA torch)')
def test_interpreted_kernels_equal_the_definition() -> None:
    # The interpreter is chosen when triton is imported.
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, __file__], check=True, env=environment)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_kernels_equal_the_definition() -> None:
    check_forward('cuda')
    check_backward('cuda')


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('params', KINDS)
def test_layers_on_a_gpu_equal_those_on_the_cpu(params: SurrogateParams) -> None:
    torch.manual_seed(3)
    results = []
    x, before = torch.randn(3, 2, 5, 7, 9) * 2, torch.randn(2, 5, 7, 9)
    for device in ('cpu', 'cuda'):
        here = x.to(device).requires_grad_()
        spikes, after = surrogate_scan_fused(here, before.to(device), params)
        (spikes.sum() + after.square().sum()).backward()  # type: ignore[no-untyped-call]
        assert here.grad is not None
        results.append([item.detach().cpu() for item in (spikes, after, here.grad)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_rest_is_a_potential_of_zero() -> None:
    torch.manual_seed(4)
    for params in KINDS:
        x = (torch.randn(3, 2, 40) * 2).requires_grad_()
        rested = surrogate_scan_fused(x, None, params)
        given = surrogate_scan_fused(x, torch.zeros(2, 40), params)
        assert all(torch.equal(one, other) for one, other in zip(rested, given, strict=True))
        rested[0].sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None


if __name__ == '__main__':
    check_forward('cpu')
    check_backward('cpu')
