# SPDX-License-Identifier: Apache-2.0
"""Pooling against a loop over windows."""

from __future__ import annotations

import pytest
import torch

from spikeseg_ros.spiking.neurons import StepOutput
from spikeseg_ros.spiking.pooling import flat_indices, offsets_from_indices, pool_spikes


def layer(height: int, width: int, seed: int) -> StepOutput:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, 3, height, width)
    spikes = torch.rand(shape, generator=generator) < 0.2
    # Few different potentials, so that ties are common.
    potential = torch.randint(1, 4, shape, generator=generator).float()
    since = torch.randint(0, 9, shape, generator=generator).to(torch.int16)
    return StepOutput(spikes, potential, since)


@pytest.mark.parametrize(('kernel', 'stride'), [(2, 2), (7, 6), (3, 1), (1, 1)])
@pytest.mark.parametrize(('height', 'width'), [(13, 20), (14, 7)])
def test_the_strongest_spike_passes_and_ties_go_to_the_first(
    kernel: int, stride: int, height: int, width: int
) -> None:
    output = layer(height, width, kernel)
    pooled = pool_spikes(output, kernel, stride)
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    assert pooled.offsets.shape == (2, 1, 3, rows, columns)
    index = flat_indices(pooled.offsets, kernel, stride, width)
    assert torch.equal(offsets_from_indices(index, kernel, stride, width), pooled.offsets)
    for t in range(2):
        for c in range(3):
            for py in range(rows):
                for px in range(columns):
                    best = None
                    for y in range(py * stride, py * stride + kernel):
                        for x in range(px * stride, px * stride + kernel):
                            if not output.spikes[t, 0, c, y, x]:
                                continue
                            v = float(output.potential[t, 0, c, y, x])
                            if best is None or v > best[0]:
                                best = (v, y, x)
                    cell = (t, 0, c, py, px)
                    assert bool(pooled.spikes[cell]) == (best is not None)
                    if best is None:
                        assert int(index[cell]) == -1
                    else:
                        _, y, x = best
                        assert int(index[cell]) == y * width + x
                        assert int(pooled.since[cell]) == int(output.since[t, 0, c, y, x])
