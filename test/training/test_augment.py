# SPDX-License-Identifier: Apache-2.0
"""Random views: image and label stay together, nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.training.augment import (
    Augmentation,
    random_event_view,
    random_view,
    recolored,
    with_small_things,
)

PLAIN = Augmentation(scale_min=1, scale_max=1, aspect=0, flip=False, color=0)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Return an image whose gray values tell the class (20 * class + 10) in 40 px squares."""
    label = np.kron(np.arange(48).reshape(6, 8) % 11, np.ones((40, 40))).astype(np.uint8)
    return np.repeat((20 * label + 10)[..., None], 3, axis=2), label


def test_a_view_without_changes_is_the_resized_image() -> None:
    image, label = scene()
    view, target = random_view(image, label, (240, 320), 11, PLAIN, np.random.default_rng(0))
    assert np.array_equal(view, image)
    assert np.array_equal(target, label)
    view, target = random_view(image, label, (120, 160), 11, PLAIN, np.random.default_rng(0))
    assert np.array_equal(view, image[::2, ::2])
    assert np.array_equal(target, label[::2, ::2])


@pytest.mark.parametrize('seed', range(12))
def test_labels_stay_with_their_pixels_under_any_geometry(seed: int) -> None:
    image, label = scene()
    settings = Augmentation(0.5, 2.0, 0.2, True, 0.0)
    rng = np.random.default_rng(seed)
    view, target = random_view(image, label, (90, 130), 11, settings, rng)
    assert view.shape == (90, 130, 3)
    assert target.shape == (90, 130)
    known = target != 11
    assert known.mean() > 0.2
    shown = (view[..., 0].astype(int) - 10) / 20
    # Interpolation mixes neighbours at the borders of the squares only.
    assert (np.abs(shown - target)[known] < 0.1).mean() > 0.85


def test_the_small_things_of_another_view_are_pasted_with_their_labels() -> None:
    view, label = np.full((8, 8, 3), 50, np.uint8), np.zeros((8, 8), np.uint8)
    label[0] = 11
    other, marks = np.full((8, 8, 3), 200, np.uint8), np.full((8, 8), 1, np.uint8)
    marks[:, :3] = 2
    marks[3:5, 3:5] = 3
    marks[7, 7] = 4
    marks[6, 6] = 11  # no class: smallest of all, but never pasted
    image, target = with_small_things(view, label, other, marks, 11)
    taken = np.isin(marks, (3, 4))
    assert taken.sum() == 5
    assert np.array_equal(target, np.where(taken, marks, label))
    assert np.array_equal(image[..., 0], np.where(taken, 200, 50))
    assert not label[3, 3]
    alone, same = with_small_things(view, label, other, np.full((8, 8), 1, np.uint8), 11)
    assert np.array_equal(alone, view)
    assert np.array_equal(same, label)


def test_what_lies_outside_is_not_labelled() -> None:
    image, label = scene()
    settings = PLAIN._replace(scale_min=0.5, scale_max=0.5)
    view, target = random_view(image, label, (120, 160), 11, settings, np.random.default_rng(3))
    assert (target != 11).mean() == pytest.approx(0.25, abs=0.01)
    outside = view[target == 11]
    assert np.abs(outside.astype(int) - image.mean()).max() <= 1


def test_views_depend_on_the_seed_alone() -> None:
    image, label = scene()
    one, other, third = (
        random_view(image, label, (90, 130), 11, Augmentation(), np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert not np.array_equal(one[0], third[0])


def test_colours_change_within_bounds() -> None:
    image, _ = scene()
    changed = recolored(image, 1.0, np.random.default_rng(1))
    assert changed.dtype == np.uint8
    assert changed.shape == image.shape
    difference = np.abs(changed.astype(int) - image).mean()
    assert 1 < difference < 90
    assert recolored(image, 0.0, np.random.default_rng(1)) is image


@pytest.mark.parametrize('seed', range(8))
def test_events_stay_with_their_labels(seed: int) -> None:
    _, label = scene()
    # Step t holds an event in the pixels of class t.
    frames = np.stack([np.stack([label == t, label == t]) for t in range(3)]).astype(np.float32)
    settings = Augmentation(0.5, 2.0, 0.2, True, 1.0)
    rng = np.random.default_rng(seed)
    view, target = random_event_view(frames, label, (90, 130), 11, settings, rng)
    assert view.shape == (3, 2, 90, 130)
    for t in range(3):
        assert ((view[t, 0] > 0) == (target == t)).mean() > 0.93
    assert not view[:, :, target == 11].any()
    assert np.array_equal(view, view.round())
