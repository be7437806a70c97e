# SPDX-License-Identifier: Apache-2.0
"""A short run of the fuzzer of event files, and proof that it can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from spikeseg_ros.events import Events
from spikeseg_ros.recordings.formats.text import TextSource

pytest.importorskip('h5py')
pytest.importorskip('hdf5plugin')


@pytest.fixture(scope='module')
def fuzz():
    path = Path(__file__).resolve().parents[2] / 'fuzz' / 'fuzz_formats.py'
    spec = importlib.util.spec_from_file_location('fuzz_formats', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules['fuzz_formats'] = module
    spec.loader.exec_module(module)
    return module


def test_short_run(fuzz):
    refused = fuzz.run(560, seed=21)
    assert set(refused) == set(fuzz.WRITERS)
    # Damage is mostly seen; in the words of EVT3 it mostly cannot be.
    assert all(count > 5 for name, count in refused.items() if name != 'evt3.raw')


@pytest.mark.parametrize('fault', ['foreign', 'nameless', 'time'])
def test_faults_are_found(fuzz, monkeypatch, fault):
    def broken(self):
        if fault == 'foreign':
            raise IndexError
        if fault == 'nameless':
            raise fuzz.BagError('somewhere')
        yield Events(*(np.zeros(1, kind) for kind in (np.uint16, np.uint16, np.uint8, np.int64)))

    monkeypatch.setattr(TextSource, 'chunks', broken)
    if fault == 'time':
        monkeypatch.setattr(fuzz, 'MOST_SECONDS', -1.0)
    with pytest.raises(fuzz.FuzzError, match=r'rpg\.txt, file'):
        fuzz.run(20, seed=1, names=('rpg.txt',))
