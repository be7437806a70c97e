# SPDX-License-Identifier: Apache-2.0
"""Instances of several scales in pixels of the sensor, and what objects make of them."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.algorithms import HULKDecoder
from spikeseg_ros.algorithms.coherence import RHYTHM_STEPS, CoherenceOptions, Field
from spikeseg_ros.algorithms.scales import ScaledBatch, support
from spikeseg_ros.algorithms.window import objects_from_scales
from spikeseg_ros.events import Events
from spikeseg_ros.events.background import BLOCK, bin_scaled
from spikeseg_ros.models.event_encoder import EventDrivenEncoder
from spikeseg_ros.models.weights import load_encoder, packaged_weights

HEIGHT, WIDTH, WINDOW = 121, 163, 50_000_000


def _events() -> Events:
    """Return two squares whose outlines fire: one small and dense, one large and sparse."""
    rng = np.random.default_rng(0)
    xs, ys = [], []
    for left, top, side, count in ((8, 10, 24, 2500), (70, 15, 90, 5000)):
        place = rng.uniform(0, 4, count)
        along, edge = (place % 1) * side, place.astype(int)
        across = rng.normal(0, 1.5, count)
        xs.append(
            left + np.select([edge == 0, edge == 1, edge == 2], [along, side, along], 0.0) + across
        )
        ys.append(
            top + np.select([edge == 0, edge == 1, edge == 2], [0.0, along, side], along) + across
        )
    x, y = np.concatenate(xs), np.concatenate(ys)
    keep = (x >= 0) & (y >= 0) & (x < WIDTH) & (y < HEIGHT)
    x, y = x[keep].astype(np.uint16), y[keep].astype(np.uint16)
    t = np.sort(rng.integers(0, WINDOW, len(x)))
    return Events(x, y, rng.integers(0, 2, len(x)).astype(np.uint8), t)


@pytest.fixture(scope='module')
def scales() -> list[ScaledBatch]:
    encoder = load_encoder(packaged_weights())
    hulk = HULKDecoder.from_encoder(encoder)
    made, first = [], 0
    for level in range(3):
        background = np.zeros((-(-HEIGHT // BLOCK), -(-WIDTH // BLOCK)))
        spikes = bin_scaled(_events(), 0, WINDOW, 10, HEIGHT, WIDTH, level, background)
        trace, _ = EventDrivenEncoder.from_encoder(encoder).encode(spikes)
        batch = hulk.instances_from_trace(trace, 200)
        made.append(ScaledBatch(batch, level, first, HEIGHT, WIDTH))
        first += batch.n_spikes
    return made


def test_support_is_the_union_of_the_masks(scales: list[ScaledBatch]) -> None:
    union = np.zeros((HEIGHT, WIDTH), np.bool_)
    ids = []
    for item in scales:
        assert len(item.batch) > 3
        for instance in item.to_instances():
            ids.append(instance.instance_id)
            box, crop = instance.bbox, instance.crop
            assert crop is not None
            assert crop.shape == (box.height, box.width)
            assert instance.frame_size == (HEIGHT, WIDTH)
            union[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1] |= crop
    assert len(set(ids)) == len(ids)
    np.testing.assert_array_equal(union, support(scales))


def test_owners_are_majorities_and_strength_is_shared(scales: list[ScaledBatch]) -> None:
    labels = np.full((HEIGHT, WIDTH), -1, np.int16)
    labels[:, :50], labels[:, 50:100], labels[60:, 100:] = 0, 1, 2
    for item in scales:
        owner, strength = item.owners(labels, 3)
        wanted = np.zeros(3)
        for number, instance in enumerate(item.to_instances()):
            mask = instance.mask
            assert mask is not None
            inside = labels[mask.numpy()]
            votes = np.bincount(inside[inside >= 0], minlength=3)
            assert owner[number] == (votes.argmax() if votes.any() else -1)
            if votes.any():
                wanted += instance.score * votes / votes.sum()
        np.testing.assert_allclose(strength, wanted, rtol=1e-5)


def test_objects_of_all_sizes_are_found_whole(scales: list[ScaledBatch]) -> None:
    events = _events()
    field = Field(
        events.x,
        events.y,
        events.t * RHYTHM_STEPS // WINDOW,
        support(scales),
        np.zeros((-(-HEIGHT // BLOCK), -(-WIDTH // BLOCK))),
        BLOCK,
    )
    found, image = objects_from_scales(scales, field, CoherenceOptions())
    assert len(found.objects) == 2
    for item in found.objects:
        box = item.box
        crop = image[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1]
        np.testing.assert_array_equal(crop == item.object_id, item.mask)
        assert item.n_events == (found.of_event == item.object_id).sum()
        assert item.instance_ids
        assert 0 < item.score < 1
    assert (found.of_event >= 0).mean() > 0.9
    assert len(found.of_instance) == sum(len(item.batch) for item in scales)
    one, again = objects_from_scales(scales, field, CoherenceOptions(), max_objects=1)
    assert len(one.objects) == 1
    assert one.n_dropped == 1
    assert one.objects[0].n_events == max(item.n_events for item in found.objects)
    assert set(np.unique(again)) == {-1, 0}
