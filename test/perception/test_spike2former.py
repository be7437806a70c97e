# SPDX-License-Identifier: Apache-2.0
"""Spike2Former as a family of the perception, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeseg_ros.models.spike2former import Spike2Former, preset
from spikeseg_ros.models.spike2former_weights import load_spike2former, save_spike2former
from spikeseg_ros.models.weights import WeightsError
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.segmenter import ImageFrame

CLASSES, COLORS = ('road', 'car', 'person'), ((1, 2, 3), (200, 0, 0), (0, 200, 0))


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('weights') / 'tiny.pt'
    network = Spike2Former(preset('tiny', classes=3)).eval()
    save_spike2former(path, network, CLASSES, COLORS, {'size': [48, 64]})
    return str(path)


def family(weights: str, **options: Any) -> Any:
    flat = {name.replace('__', '.'): value for name, value in options.items()}
    return create(from_flat({'model': 'spike2former', 'weights': weights, **flat}))


def image(height: int, width: int) -> ImageFrame:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return ImageFrame(pixels, 0, 'camera')


def test_masks_are_those_of_the_network_in_the_size_of_the_image(weights: str) -> None:
    one = family(weights, semantic__min_area=1, semantic__min_score=0.0)
    assert one.inputs == ('images',)
    assert [label.name for label in one.labels] == ['unknown', *CLASSES]
    frame = image(48, 64)
    result, state = one.segment(frame, one.initial_state())
    network = load_spike2former(weights).network
    x = network.normalised(torch.from_numpy(frame.image).permute(2, 0, 1).unsqueeze(0))
    with torch.inference_mode():
        want = network.logits(x)[0].argmax(dim=0).numpy()
    assert (result.class_mask() == want + 1).mean() > 0.99
    assert state.encoder is None
    assert all(0 <= item.score <= 1 for item in result.objects)
    odd, _ = one.segment(image(37, 91), one.initial_state())
    assert odd.class_mask().shape == (37, 91)


def test_potentials_are_kept_on_request(weights: str) -> None:
    one = family(weights, semantic__streaming=True)
    first, state = one.segment(image(48, 64), one.initial_state())
    assert state.encoder is not None
    _, after = one.segment(image(48, 64), state)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(state.encoder.potentials, after.encoder.potentials, strict=True)
    )
    again, _ = one.segment(image(48, 64), one.initial_state())
    assert (first.class_ids == again.class_ids).all(), 'a state that is given is not changed'


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    from spikeseg_ros.models.weights import DEFAULTS, packaged_weights

    with pytest.raises(WeightsError, match='spike2former'):
        family(str(packaged_weights(DEFAULTS['mfs_seg'])))


def test_a_released_checkpoint_runs_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(2)
    shape = {'classes': 2, 'backbone_heads': 8, 'heads': 8, 'layout': 'official', 'levels': 4}
    network = Spike2Former(preset('tiny', **shape)).eval()
    path = tmp_path / 'released.pth'
    labels = {'classes': ('road', 'car'), 'palette': [[1, 2, 3], [4, 5, 6]]}
    torch.save({'state_dict': network.state_dict(), 'meta': {'dataset_meta': labels}}, path)
    one = family(str(path), semantic__levels=4, image__height=48, image__width=64)
    assert one.network.network.config.levels == 4
    assert one.network.network.config.layout == 'official'
    assert [label.name for label in one.labels] == ['unknown', 'road', 'car']
    result, _ = one.segment(image(48, 64), one.initial_state())
    assert result.class_mask().shape == (48, 64)
    assert family(str(path)).network.network.config.levels == 8
