# SPDX-License-Identifier: Apache-2.0
"""Random changes of event frames: counts change as asked for, labels go with their events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeseg_ros.datasets import Sample
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.event_augment import EventAugmentation, disturbed, pasted, stilled
from spikeseg_ros.training.segmentation_config import segmentation_config
from spikeseg_ros.training.segmentation_trainer import SegmentationTrainer
from spikeseg_ros.training.views import Views


def counts() -> np.ndarray:
    """Return frames of two steps and two slices, 20 events in each OFF and 4 in each ON voxel."""
    frames = np.full((2, 4, 30, 40), 20, np.float32)
    frames[:, 1::2] = 4
    return frames


def test_without_changes_frames_stay() -> None:
    frames = counts()
    same = disturbed(frames, EventAugmentation(), np.random.default_rng(0))
    assert np.array_equal(same, frames)


def test_polarities_are_exchanged_within_their_slice_in_half_of_the_views() -> None:
    settings, frames = EventAugmentation(swap=True), counts()
    frames[:, 2:] *= 2
    swapped = 0
    for seed in range(60):
        view = disturbed(frames, settings, np.random.default_rng(seed))
        assert view.flags.c_contiguous
        if np.array_equal(view, frames[:, [1, 0, 3, 2]]):
            swapped += 1
        else:
            assert np.array_equal(view, frames)
    assert 18 <= swapped <= 42


def test_dropped_events_leave_counts_of_a_drawn_share() -> None:
    settings, frames, shares = EventAugmentation(keep=0.1), counts(), []
    for seed in range(80):
        view = disturbed(frames, settings, np.random.default_rng(seed))
        assert (view <= frames).all()
        assert np.array_equal(view, view.round())
        shares.append(view.sum() / frames.sum())
        assert view[:, 1].sum() / frames[:, 1].sum() == pytest.approx(shares[-1], abs=0.05)
    assert 0.095 < min(shares) < 0.15
    assert 0.85 < max(shares) <= 1.0
    # The logarithm is uniform: the median lies at the geometric mean of the bounds.
    assert np.median(shares) == pytest.approx(0.1**0.5, abs=0.1)


def test_noise_is_added_evenly_up_to_the_bound() -> None:
    settings, frames = EventAugmentation(noise=0.4), np.zeros((2, 4, 60, 80), np.float32)
    means = [
        disturbed(frames, settings, np.random.default_rng(seed)).sum() / (60 * 80)
        for seed in range(40)
    ]
    assert 0 < min(means) < 0.1
    assert 0.3 < max(means) < 0.43


def test_pasted_objects_bring_events_and_labels_and_hide_what_is_behind() -> None:
    frames, other = np.zeros((1, 2, 12, 12), np.float32), np.ones((1, 2, 12, 12), np.float32)
    label, marks = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
    label[0:6] = 1
    marks[4:8, 4:8], marks[10:] = 2, 255
    seen, target = pasted(frames, label, other, marks, 255)
    assert (target[4:8, 4:8] == 2).all()
    assert np.array_equal(target == 1, (label == 1) & (marks != 2))
    assert not (target == 255).any()
    assert seen[0, 0].sum() == 6 * 6
    assert seen[0, 1, 3:9, 3:9].all()


def test_a_camera_at_rest_sees_objects_only() -> None:
    frames, label = np.ones((1, 2, 12, 12), np.float32), np.zeros((12, 12), np.uint8)
    label[4:8, 4:8], label[10:] = 1, 255
    seen = stilled(frames, label, 255)
    assert seen.sum() == 2 * 6 * 6
    assert seen[:, :, 3:9, 3:9].all()
    views, labels = Views(segmentation_config({**OPTIONS, 'event_still': 1.0}), Blocks()).batch(0)
    assert labels.any()
    assert not views[:, :, :, :, :19].any()
    assert views[0, :, 0][labels == 1].all()


class Blocks:
    """Samples of one step: number k shows k + 1 events everywhere and an object on one side."""

    classes, colors, ignore = ('background', 'object'), ((0, 0, 0), (1, 1, 1)), 255

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return f'rec/{index}'

    def sample(self, index: int) -> Sample:
        label = np.zeros((32, 40), np.uint8)
        label[:, 20:] = index == 2
        return Sample(np.full((1, 2, 32, 40), index + 1, np.float32), label)


OPTIONS: dict[str, Any] = {
    'height': 32, 'width': 40, 'batch': 6, 'iterations': 2, 'scale_min': 1, 'scale_max': 1,
    'aspect': 0, 'flip': False, 'network': {'widths': [8, 8, 8, 8], 'depths': [1, 1, 1, 1]},
}  # fmt: skip


def test_views_paste_objects_of_other_samples() -> None:
    plain = Views(segmentation_config(OPTIONS), Blocks())
    mixed = Views(segmentation_config({**OPTIONS, 'event_paste': 1.0}), Blocks())
    foreign = 0
    for iteration in range(4):
        views, _ = plain.batch(iteration)
        assert all(len(np.unique(views[:, k])) == 1 for k in range(6))
        views, labels = mixed.batch(iteration)
        for k in range(6):
            objects = labels[k] == 1
            assert (views[0, k, 0][objects] == 3).all()
            foreign += bool(objects.any()) and bool((views[0, k, 0][~objects] < 3).any())
    assert foreign > 3


def test_event_views_depend_on_seed_and_number_alone() -> None:
    options = {**OPTIONS, 'event_paste': 0.5, 'event_keep': 0.2, 'event_noise': 0.1}
    one, other = (Views(segmentation_config(options), Blocks()) for _ in range(2))
    other.batch(0)
    assert all(a.equal(b) for a, b in zip(one.batch(3), other.batch(3), strict=True))


def test_training_on_changed_events_runs_and_notes_the_framing(tmp_path: Any) -> None:
    from spikeseg_ros.events.frames import Framing, framing_from_notes
    from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg

    data = Blocks()
    data.framing = Framing(1, 40_000_000)  # type: ignore[attr-defined]
    options = {**OPTIONS, 'event_paste': 0.5, 'event_keep': 0.2, 'event_swap': True}
    trainer = SegmentationTrainer(segmentation_config(options), data)
    assert np.isfinite(trainer.step())
    trainer.write_weights(tmp_path / 'w.pt', {'size': [32, 40]})
    metadata = load_mfs_seg(tmp_path / 'w.pt').metadata
    assert framing_from_notes(metadata['framing']) == data.framing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    'change',
    [{'event_keep': 0.0}, {'event_paste': 1.5}, {'event_still': -0.1}, {'event_noise': -1.0},
     {'event_steps': 0}, {'event_steps': 100, 'event_bins': 3}, {'event_window_ms': 0.0}],
)  # fmt: skip
def test_options_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match='event_'):
        segmentation_config(change)
