# SPDX-License-Identifier: Apache-2.0
"""Prophesee RAW files (EVT2, EVT2.1, EVT3): a text header, then words.

The header is lines that begin with '%', as Prophesee documents them: '% format EVT3;height=720;
width=1280' or, in older files, '% evt 2.0' and '% geometry 1280x720'; '% end' may close it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.types import Packet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

CHUNK = 1 << 16
_MAX_LINE = 4096
_MAX_LINES = 1000
_ENCODINGS = {'2.0': 'evt2', '2.1': 'evt21', '3.0': 'evt3'}
_FORMATS = {'EVT2': 'evt2', 'EVT21': 'evt21', 'EVT3': 'evt3'}


def read_raw(path: str | Path, chunk: int = CHUNK) -> Iterator[Packet]:
    """Yield the content of a RAW file as packets for EventDecoder or EventStream.

    Args:
        path: The file.
        chunk: Payload bytes per packet; rounded down to whole words.

    Raises:
        EventError: The file cannot be read, or its header tells no known format or geometry.
    """
    try:
        with Path(path).open('rb') as file:
            encoding, width, height = _header(file, path)
            # Refuses a geometry that cannot be.
            EventDecoder(encoding, width, height)
            size = max(8, chunk // 8 * 8)
            seq = 0
            while payload := file.read(size):
                yield Packet(payload, encoding, width, height, seq=seq)
                seq += 1
    except OSError as err:
        msg = f'Cannot read {str(path)!r}: {err.strerror}.'
        raise EventError(msg) from None


def _header(file: BinaryIO, path: str | Path) -> tuple[str, int, int]:
    """Read the header, leave the file behind it, and return (encoding, width, height)."""
    fields: dict[str, str] = {}
    for _ in range(_MAX_LINES):
        begin = file.tell()
        line = file.readline(_MAX_LINE)
        if not line.startswith(b'%'):
            file.seek(begin)
            break
        key, _, value = line[1:].decode('latin-1').strip().partition(' ')
        fields[key.lower()] = value
        if key.lower() == 'end':
            break
    form, *details = fields.get('format', '').split(';')
    details.append(f'endianness={fields.get("endianness", "")}')
    options = {k: v for k, _, v in (item.partition('=') for item in details) if v}
    encoding = _FORMATS.get(
        form.strip().upper(), _ENCODINGS.get(fields.get('evt', '').strip(), '')
    )
    if encoding == 'evt21' and options.get('endianness') == 'legacy':
        encoding = 'evt21_legacy'
    size = re.fullmatch(r'\s*(\d{1,5})x(\d{1,5})\s*', fields.get('geometry', ''))
    width, height = size.groups() if size else (options.get('width'), options.get('height'))
    if not encoding or not width or not height or not (width.isdecimal() and height.isdecimal()):
        msg = f'{str(path)!r} tells no known format and geometry; its header holds {fields!r}.'
        raise EventError(msg)
    return encoding, int(width), int(height)
