# SPDX-License-Identifier: Apache-2.0
"""Where a run stands: what its journal says when it is opened again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.replay import RecordingFacts
from spikeseg_ros.evaluation.offline.state import decode_state, encode_state

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        windows: Windows finished.
        failed: Windows lost to an error.
        last_error: Text of the last such error.
        pipeline: State of the pipeline behind them; None at the beginning.
        position: Where the journal goes on [bytes]; 0 = it begins anew.
        done: Whether the recording was read to its end.
        facts: What is known of the recording, once done.
        sha256: Hash of its payloads, once done.
    """

    windows: int = 0
    failed: int = 0
    last_error: str = ''
    pipeline: Any = None
    position: int = 0
    done: bool = False
    facts: RecordingFacts = field(default_factory=RecordingFacts)
    sha256: str = ''

    @property
    def frames(self) -> int:
        """Windows that went through the perception, with or without success."""
        return self.windows + self.failed

    def state_record(self) -> bytes:
        """Return the body of a STATE record."""
        return encode_state([self.windows, self.failed, self.last_error, self.pipeline])

    def done_record(self) -> bytes:
        """Return the body of a DONE record."""
        tree = {
            'windows': self.windows,
            'failed': self.failed,
            'last_error': self.last_error,
            'facts': asdict(self.facts),
            'sha256': self.sha256,
        }
        return json.dumps(tree).encode()


def resume_point(path: Path, identity: dict[str, Any]) -> Progress:
    """Return where to go on with a journal: behind the last window whose state it holds.

    Args:
        path: The journal; where there is none, the run begins anew.
        identity: What the run is made of; has to be what the journal was begun with.

    Raises:
        EvaluationError: The journal belongs to another recording, configuration or version.
    """
    progress = Progress()
    if not path.exists() or path.stat().st_size <= len(journal.MAGIC):
        return progress
    state = b''
    for kind, body, position in journal.records(path):
        if kind == journal.HEADER:
            check_identity(json.loads(body), identity, str(path.parent))
            progress.position = position
        elif kind == journal.STATE:
            state, progress.position = body, position
        elif kind == journal.DONE:
            tree = json.loads(body)
            facts = RecordingFacts(**tree.pop('facts'))
            return Progress(**tree, facts=facts, position=position, done=True)
    if state:
        (progress.windows, progress.failed, progress.last_error, progress.pipeline) = decode_state(
            state
        )
    return progress


def check_identity(found: dict[str, Any], wanted: dict[str, Any], folder: str) -> None:
    """Refuse to go on with what was begun with something else.

    Raises:
        EvaluationError: They differ; the text says in what.
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            msg = (
                f'{folder!r} was begun with another {name}: {found.get(name)!r} instead of '
                f'{value!r}. Start anew with --overwrite, or choose another output.'
            )
            if isinstance(value, dict) and isinstance(found.get(name), dict):
                keys = [k for k in value if found[name].get(k) != value[k]] or list(value)
                msg = (
                    f'{folder!r} was begun with another {name}: {keys[0]} = '
                    f'{found[name].get(keys[0])!r} instead of {value[keys[0]]!r}. Start anew '
                    'with --overwrite, or choose another output.'
                )
            raise EvaluationError(msg)
