# SPDX-License-Identifier: Apache-2.0
"""sqlite3 recordings that were cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikeseg_ros.events.types import Packet
from spikeseg_ros.recordings.bags import BagError, BagReader, BagWriter
from spikeseg_ros.recordings.definitions import EVENT_PACKET
from spikeseg_ros.recordings.scan import ScanError
from spikeseg_ros.recordings.serialization import packet_message
from spikeseg_ros.recordings.sqlite_scan import SqliteScan

COUNT = 60


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with BagWriter(tmp_path / 'bag', 'sqlite3') as writer:
        writer.add_topic('/other', 'std_msgs/msg/String')
        writer.add_topic('/events', EVENT_PACKET)
        for k in range(COUNT):
            data = rng.integers(0, 256, 5000).astype(np.uint8).tobytes()
            packet = Packet(data, 'evt3', 100, 80, 10**18 + k, k)
            writer.write('/events', 1000 + k, packet_message(packet))
    return tmp_path / 'bag'


def read(path: Path) -> tuple[list[tuple[int, bytes]], str]:
    found, error = [], ''
    try:
        with BagReader(path) as reader:
            for time, packet in reader.packets():
                found.append((time, bytes(packet.payload)))
    except BagError as err:
        error = str(err)
    return found, error


def test_a_whole_file_is_read_alike(bag: Path) -> None:
    whole, error = read(bag)
    assert (len(whole), error) == (COUNT, '')
    scan = SqliteScan(bag / 'bag.db3')
    scan.open()
    assert scan.damage == ''
    assert (scan.message_count, scan.start_time, scan.end_time) == (COUNT, 1000, 1000 + COUNT)
    assert {item.topic: (item.msgtype, item.msgcount) for item in scan.connections} == {
        '/events': (EVENT_PACKET, COUNT),
        '/other': ('std_msgs/msg/String', 0),
    }
    events = [item for item in scan.connections if item.topic == '/events']
    assert [time for _, time, _ in scan.messages(events)] == [time for time, _ in whole]


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
@pytest.mark.parametrize('metadata', [True, False])
def test_what_is_in_front_of_the_cut_is_read(bag: Path, share: float, metadata: bool) -> None:
    whole, _ = read(bag)
    file = bag / 'bag.db3'
    data = file.read_bytes()
    file.write_bytes(data[: round(share * len(data))])
    if not metadata:
        (bag / 'metadata.yaml').unlink()
    found, error = read(bag)
    assert found == whole[: len(found)]
    assert len(found) > (share - 0.2) * COUNT
    assert f'damaged behind message {len(found)}' in error


def test_files_that_are_no_recording(tmp_path: Path) -> None:
    for number, data in enumerate((b'', b'SQLite format 3\0', b'x' * 10_000)):
        path = tmp_path / f'{number}.db3'
        path.write_bytes(data)
        with pytest.raises(ScanError, match='topics'):
            SqliteScan(path).open()
        assert not [item for item in tmp_path.iterdir() if item.suffix != '.db3']
    with pytest.raises(ScanError):
        SqliteScan(tmp_path / 'absent.db3').open()
    assert not (tmp_path / 'absent.db3').exists()
