# SPDX-License-Identifier: Apache-2.0
"""Runs with segmentation networks for events; those for images need a recording that has some."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tiny import contents, random_events, unit, write_bag

from spikeseg_ros.evaluation.offline.unit import run_unit
from spikeseg_ros.evaluation.offline.windows import finished, from_bytes, to_bytes
from spikeseg_ros.events.frames import Framing, framing_notes
from spikeseg_ros.events.types import EventWindow
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg
from spikeseg_ros.perception.config import PerceptionConfig, from_flat, to_flat
from spikeseg_ros.perception.pipeline import Tick
from spikeseg_ros.perception.registry import create
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.recordings.serialization import deserialize


def options(tmp_path: Path, *, events: bool) -> dict:
    torch.manual_seed(2)
    shape = {'classes': 2, 'widths': (4, 4, 8, 8), 'depths': (1, 1, 1, 1)}
    notes = {}
    if events:
        shape |= {'events': True, 'input_channels': 2}
        notes = {'framing': framing_notes(Framing())}
    path = tmp_path / f'weights_{events}.pt'
    network = MfsSeg(MfsSegConfig(**shape)).eval()
    save_mfs_seg(path, network, ('background', 'object'), ((0, 0, 0), (230, 25, 75)), notes)
    config = dataclasses.replace(PerceptionConfig(), model='mfs_seg', weights=str(path))
    return to_flat(config) | {'semantic.min_score': 0.0, 'semantic.min_area': 1}


def test_masks_of_classes_are_written_as_the_node_publishes_them(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', random_events(), [1000, 2500])
    config = options(tmp_path, events=True)
    first = run_unit(unit(bag, tmp_path / 'one', config=config))
    assert not first.error
    assert first.windows >= 9
    with BagReader(tmp_path / 'one/output') as recording:
        masks = [
            deserialize(kind, raw) for _, kind, _, raw in recording.messages(['/spikeseg/mask'])
        ]
    assert len(masks) == first.windows
    assert {item.content for item in masks} == {0}
    second = run_unit(unit(bag, tmp_path / 'two', config=config))
    assert second.windows == first.windows
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_a_class_mask_survives_the_journal(tmp_path: Path) -> None:
    one = create(from_flat(options(tmp_path, events=True)))
    window = EventWindow(random_events(), 0, 10**9, 10**9, 100, 80, 'camera')
    result, _ = one.segment(window, one.initial_state())
    kept = from_bytes(to_bytes(finished(Tick(window, result, 0, 1), 0))).result
    assert result.class_ids is not None
    np.testing.assert_array_equal(kept.class_ids, result.class_ids)


def test_networks_for_images_want_an_image_topic(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', random_events(), [])
    outcome = run_unit(unit(bag, tmp_path / 'run', config=options(tmp_path, events=False)))
    assert 'no image topic' in outcome.error
    assert '/event_camera/events' in outcome.error
    assert not (tmp_path / 'run').exists()
