# SPDX-License-Identifier: Apache-2.0
"""Random records and weights for the tests of HULK, without any network."""

from __future__ import annotations

import numpy as np

from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace

GEOMETRIES = {
    'igarss2023': ChainGeometry(46, 38, (1, 4, 6, 1)),
    'two polarities, three classes': ChainGeometry(41, 53, (2, 3, 5, 3)),
    'spikeseg 7x7/6': ChainGeometry(83, 95, (1, 4, 6, 2), (5, 5, 7), (7, 2), (6, 2)),
    'small kernels, overlapping pools': ChainGeometry(
        37, 40, (2, 3, 4, 2), (3, 5, 3), (3, 3), (2, 2)
    ),
    'kernel 1': ChainGeometry(20, 24, (1, 2, 3, 2), (1, 3, 5), (2, 3), (2, 3)),
}
# Share of spiking cells of input, pool1, pool2 and the class layer.
DENSITY = (0.1, 0.15, 0.1, 0.05)


def random_weights(geometry: ChainGeometry, seed: int, share: float = 0.25) -> tuple:
    """Return weights on the k / 256 grid, a share of them above 0.5, some negative in conv1."""
    rng = np.random.default_rng(seed)
    made = []
    for layer, kernel in enumerate(geometry.conv_kernels):
        shape = (geometry.channels[layer + 1], geometry.channels[layer], kernel, kernel)
        high = rng.random(shape) < share
        weights = np.where(high, rng.integers(130, 256, shape), rng.integers(0, 20, shape)) / 256
        if layer == 0:
            weights = weights - rng.integers(0, 2, shape) * 8 / 256
        made.append(weights.astype(np.float32))
    return tuple(made)


def random_trace(
    geometry: ChainGeometry,
    seed: int,
    steps: int = 4,
    density: tuple[float, float, float, float] = DENSITY,
    since: bool = True,
) -> SpikeTrace:
    """Return a record whose spikes are drawn independently in every layer."""
    rng = np.random.default_rng(seed)
    height, width = geometry.height, geometry.width
    channels = geometry.channels
    shapes = [
        (steps, height, width, channels[0]),
        (steps, *geometry.pool1_size, channels[1]),
        (steps, *geometry.pool2_size, channels[2]),
    ]
    inputs = (rng.random(shapes[0]) < density[0]).astype(np.uint8)
    pools, starts = [], []
    for pool in (0, 1):
        shape = shapes[pool + 1]
        offsets = rng.integers(1, geometry.pool_kernels[pool] ** 2 + 1, shape)
        pools.append(np.where(rng.random(shape) < density[pool + 1], offsets, 0).astype(np.uint8))
        now = np.arange(steps)[:, None, None, None]
        first = rng.integers(0, now + 1, shape) if since else np.zeros(shape)
        # Values of silent cells are meaningless: let them be wild.
        starts.append(np.where(pools[-1] != 0, first, 250).astype(np.uint8))
    fired = rng.random((steps, channels[3], *geometry.pool2_size)) < density[3]
    # Corners see the most borders.
    fired[-1, 0, [0, 0, -1, -1], [0, -1, 0, -1]] = True
    step, class_id, y, x = (axis.astype(np.int32) for axis in np.nonzero(fired))
    classes = ClassSpikes(
        step,
        class_id,
        y,
        x,
        (1 + rng.integers(0, 8, len(step)) / 4).astype(np.float32),
        (rng.integers(0, step + 1) if since else np.zeros(len(step))).astype(np.int32),
    )
    return SpikeTrace(
        geometry, steps, inputs, pools[0], starts[0], pools[1], starts[1], classes, {}
    )
