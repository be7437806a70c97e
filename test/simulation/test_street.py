# SPDX-License-Identifier: Apache-2.0
"""The drawn street: repeatable, labelled, and moving."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.datasets.camvid import CLASSES as CAMVID
from spikeseg_ros.simulation.street import CAR, CLASSES, ROAD, SKY, StreetScene


def test_the_same_street_is_drawn_again_and_others_differ() -> None:
    image, labels = StreetScene(160, 120).render(1.0)
    again, same = StreetScene(160, 120).render(1.0)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, same)
    assert (labels != StreetScene(160, 120, seed=4).render(1.0)[1]).mean() > 0.05
    assert (labels != StreetScene(160, 120).render(1.5)[1]).mean() > 0.02, 'the camera drives'


@pytest.mark.parametrize('size', [(161, 97), (480, 360)])
def test_every_class_is_there_where_it_belongs(size: tuple[int, int]) -> None:
    image, labels = StreetScene(*size).render(0.0)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8
    assert labels.shape == (size[1], size[0])
    seen = set(np.unique(labels))
    assert seen <= set(range(len(CLASSES)))
    assert {SKY, ROAD, CAR} <= seen
    assert set(CLASSES) <= set(CAMVID), 'names are those of the shipped network'
    rows = np.arange(size[1])[:, None] * np.ones(size[0])
    assert rows[labels == SKY].mean() < rows[labels == CAR].mean() < rows[labels == ROAD].mean()
    assert image[labels == SKY].mean() > image[labels == ROAD].mean() + 60
