# SPDX-License-Identifier: Apache-2.0
"""A short run of the fuzz target, and proof that it can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spikeseg_ros.events import ENCODINGS, EventDecoder, Events


@pytest.fixture(scope='module')
def fuzz() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / 'fuzz/fuzz_decoders.py'
    spec = importlib.util.spec_from_file_location('fuzz_decoders', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules['fuzz_decoders'] = module
    spec.loader.exec_module(module)
    return module


def test_short_run(fuzz: ModuleType) -> None:
    refused = fuzz.run(7_000, seed=11, compare=5)
    assert set(refused) == set(ENCODINGS)
    # Bases out of range are among the inputs.
    assert refused['mono'] > 0
    assert refused['evt3'] == 0


@pytest.mark.parametrize('fault', ['foreign', 'bounds', 'spoiled'])
def test_faults_are_found(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    decode = EventDecoder.decode
    spoiled: set[int] = set()

    def broken(self: EventDecoder, payload: Any, time_base: int = 0) -> Events:
        events = decode(self, payload, time_base)
        if fault == 'foreign' and len(payload) == 17:
            raise IndexError
        if fault == 'bounds' and len(events) > 9:
            return Events(events.x + np.uint16(9999), events.y, events.p, events.t)
        if fault == 'spoiled':
            if len(payload) == 18:
                spoiled.add(id(self))
            return events.slice(0, len(events) - 1) if id(self) in spoiled else events
        return events

    monkeypatch.setattr(EventDecoder, 'decode', broken)
    with pytest.raises(fuzz.FuzzError, match='payload'):
        fuzz.run(7_000, seed=5)
