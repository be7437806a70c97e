# SPDX-License-Identifier: Apache-2.0
"""One unit of work: a recording goes through the perception, frame by frame, into a journal.

The journal also holds the state of the segmenter, so that a run that was killed goes on behind
the last window it finished and ends with the same files.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline.checkpoint import Progress, check_identity, resume_point
from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.finish import finish
from spikeseg_ros.evaluation.offline.scores import Scores, content_hash
from spikeseg_ros.evaluation.offline.sources import REPLAYS, kind_for, replay_of
from spikeseg_ros.evaluation.offline.tables import FORMAT, read_summary
from spikeseg_ros.evaluation.offline.windows import finished, from_bytes, to_bytes
from spikeseg_ros.evaluation.truth import TruthError
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.pipeline import Pipeline
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.segmenter import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spikeseg_ros.evaluation.offline.replay import Replay
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.perception.segmenter import Segmenter

    Factory = Callable[[PerceptionConfig], Segmenter]

# Larger states are saved with every 32nd window only; a resumed run repeats the rest.
_SMALL_STATE = 1 << 18
_STATE_EVERY = 32


@dataclass(frozen=True)
class Unit:
    """A recording to evaluate and where its files go; plain data that travels between processes.

    Attributes:
        bag: The recording.
        name: Its name in the results.
        output: Folder of its files.
        topic: Topic of its events or images; empty = the one with most messages.
        config: Options of the perception by dotted name.
        truth: File of its ground truth; empty = none.
        truth_kind: Kind of the ground truth.
        resume: Whether what is there already is taken over.
    """

    bag: str
    name: str
    output: str
    topic: str = ''
    config: Mapping[str, Any] = field(default_factory=dict)
    truth: str = ''
    truth_kind: str = 'auto'
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a unit ended.

    Attributes:
        name: Name of the recording.
        windows: Windows in its files; 0 where there are none.
        error: What went wrong, one line; empty where all is well.
    """

    name: str
    windows: int
    error: str = ''


def run_unit(
    unit: Unit, progress: Callable[[int], None] | None = None, factory: Factory = create
) -> Outcome:
    """Evaluate one recording; what is wrong with the recording is part of the outcome.

    Args:
        unit: The recording.
        progress: Called with the messages read since the last call.
        factory: Makes the segmenter of a configuration.
    """
    try:
        return _run(unit, progress, factory)
    except ValueError as err:
        text = str(err)
    except OSError as err:
        text = (
            f'{err.strerror or err}: {err.filename or unit.output!r}, while evaluating '
            f'{unit.bag!r}. What was finished is kept: make room or give rights, and go on with '
            '--resume.'
        )
    return Outcome(unit.name, 0, ' '.join(text.split()))


def _run(unit: Unit, progress: Callable[[int], None] | None, factory: Factory) -> Outcome:
    """Evaluate one recording."""
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    begin = time.monotonic()
    folder, config = Path(unit.output), from_flat(unit.config)
    identity = _identity(unit, config)
    summary = read_summary(folder) if unit.resume else None
    if summary is not None:
        replay = replay_of(summary)(Path(unit.bag), unit.topic, config, progress)
        return _taken_over(unit, summary, replay, identity)
    segmenter = factory(config)
    kind = REPLAYS[kind_for(segmenter)]
    replay = kind(Path(unit.bag), unit.topic, config, progress)
    scores = _scores(unit, kind(Path(unit.bag), unit.topic, config)) if unit.truth else None
    _limit_threads(config.threads)
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / journal.NAME
    state = resume_point(path, identity) if unit.resume else Progress()
    try:
        if not state.done:
            with journal.JournalWriter(path, state.position) as writer:
                if not state.position:
                    writer.append(journal.HEADER, json.dumps(identity).encode())
                _segment(replay, Pipeline(segmenter, _NoSource()), path, state, writer)
        if not state.windows:
            raise EvaluationError(_nothing(unit, state, replay))
    except (ValueError, OSError):
        if not state.windows:
            path.unlink(missing_ok=True)
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
        raise
    problem = ''
    clock = started, time.monotonic() - begin
    try:
        if scores is not None:
            scores.check(state.facts)
        finish(folder, identity, replay, segmenter, state, clock, scores)
    except TruthError as err:
        problem = f'{err} The results of {unit.bag!r} are kept without metrics.'
        finish(folder, identity, replay, segmenter, state, clock)
    path.unlink()
    outcome = _outcome(
        unit, replay.word, state.windows, state.facts.damaged, state.failed, state.last_error
    )
    return replace(outcome, error=' '.join((outcome.error + ' ' + problem).split()))


def _scores(unit: Unit, replay: Replay) -> Scores:
    """Return the comparison with the ground truth.

    Raises:
        TruthError: It cannot be read, or is about another sensor.
        EvaluationError: It cannot be compared with images.
    """
    if replay.kind != EVENTS:
        msg = (
            f'--truth is compared event by event, and the weights for {unit.bag!r} take camera '
            'images; judge them on labelled images with `spikeseg evaluate segmentation`, or '
            'leave --truth out.'
        )
        raise EvaluationError(msg)
    scores = Scores(unit.truth, unit.truth_kind)
    scores.check_size(replay)
    return scores


class _NoSource:
    """A pipeline that is handed its frames needs no source."""

    counters = None

    def poll(self, now: int) -> tuple[()]:
        """Return nothing."""
        del now
        return ()

    def reset(self) -> None:
        """Forget nothing."""


def _segment(
    replay: Replay, pipeline: Pipeline, path: Path, state: Progress, writer: journal.JournalWriter
) -> None:
    """Run the perception on the windows that are not in the journal yet."""
    skipped = _frames_of(path, state.frames)
    warm = False
    if state.pipeline is not None:
        pipeline.progress = tuple(state.pipeline)
    for number, frame in enumerate(replay):
        if number < len(skipped):
            _check_skipped(skipped[number], frame, path)
            continue
        if not warm:
            warm = True
            with suppress(Exception):  # the window itself tells what is wrong
                pipeline.segmenter.warm_up(frame.width, frame.height)
        tick = pipeline.process(frame)
        if tick is not None:
            writer.append(journal.WINDOW, to_bytes(finished(tick, state.windows)))
            state.windows += 1
        else:
            state.failed += 1
            state.last_error = pipeline.counters.last_error
            writer.append(journal.FAILED, b'')
        state.pipeline = pipeline.progress
        body = state.state_record()
        if len(body) <= _SMALL_STATE or state.frames % _STATE_EVERY == 0:
            writer.append(journal.STATE, body)
    state.facts, state.sha256, state.done = replay.facts, replay.sha256, True
    writer.append(journal.DONE, state.done_record())


def _frames_of(path: Path, count: int) -> list[tuple[int, int, int, int] | None]:
    """Return what the first windows of a journal were made of; None for a window that failed."""
    found: list[tuple[int, int, int, int] | None] = []
    for kind, body, _ in journal.records(path):
        if len(found) == count:
            break
        if kind == journal.WINDOW:
            window = from_bytes(body)
            result = window.result
            found.append((window.t_start, window.t_end, result.stamp, result.n_events))
        elif kind == journal.FAILED:
            found.append(None)
    return found


def _check_skipped(known: tuple[int, int, int, int] | None, frame: Any, path: Path) -> None:
    """Refuse to go on with a recording that has changed."""
    if known not in (None, (frame.t_start, frame.t_end, frame.stamp, len(frame.events))):
        msg = (
            f'The recording has changed since {str(path.parent)!r} was begun; start anew with '
            '--overwrite.'
        )
        raise EvaluationError(msg)


def _taken_over(
    unit: Unit, summary: dict[str, Any], replay: Replay, identity: dict[str, Any]
) -> Outcome:
    """Keep a finished run, if it is the run of this recording and configuration."""
    found = {
        'format': summary['format'],
        'bag': summary['bag']['name'],
        'weights': summary['weights'],
        'config': summary['config'],
        'versions': summary['versions'],
    }
    check_identity(found, {name: identity[name] for name in found}, unit.output)
    known = (summary['metrics'] or {}).get('truth_sha256', '')
    if known != (content_hash(Path(unit.truth)) if unit.truth else ''):
        msg = (
            f'{unit.output!r} was finished with other ground truth; start anew with --overwrite, '
            'or choose another output.'
        )
        raise EvaluationError(msg)
    for _ in replay:
        pass
    if replay.sha256 != summary['bag']['sha256']:
        msg = (
            f'{unit.bag!r} is not the recording whose results are in {unit.output!r}; start anew '
            'with --overwrite, or choose another output.'
        )
        raise EvaluationError(msg)
    damaged = summary['bag']['damaged']
    windows, failed = summary['windows'], summary['errors']
    return _outcome(unit, replay.word, windows, damaged, failed, 'see summary.json')


def _outcome(
    unit: Unit, word: str, windows: int, damaged: str, failed: int, last_error: str
) -> Outcome:
    """Return how a unit that left files has ended."""
    error = ''
    if damaged:
        error = f'{unit.bag!r} is not whole, {windows} {word}s are in {unit.output!r}: {damaged}'
    elif failed:
        error = f'{failed} {word}s of {unit.bag!r} failed and were left out: {last_error}'
    return Outcome(unit.name, windows, ' '.join(error.split()))


def _nothing(unit: Unit, state: Progress, replay: Replay) -> str:
    """Say why a recording gave no windows or images."""
    topic, damaged = state.facts.topic, state.facts.damaged
    if state.failed:
        return f'Every {replay.word} of {unit.bag!r} failed; the last error was {state.last_error}'
    if damaged:
        return f'{unit.bag!r} has no {replay.word} that can be read on {topic!r}: {damaged}'
    found = f'Topic {topic!r} of {unit.bag!r} holds no {replay.kind}'
    return f'{found}; choose another one with --topic.'


def _identity(unit: Unit, config: PerceptionConfig) -> dict[str, Any]:
    """Return what the files of a run depend on, without paths of this machine."""
    from spikeseg_ros.models.weights import find_weights

    weights = find_weights(config.weights, config.model)
    options = dict(unit.config)
    options['weights'] = weights.name if config.weights else ''
    return {
        'format': FORMAT,
        'bag': unit.name,
        'topic': unit.topic,
        'weights': {'name': weights.name, 'sha256': content_hash(weights)},
        'config': options,
        'versions': {'spikeseg_ros': importlib.metadata.version('spikeseg_ros')},
    }


def _limit_threads(threads: int) -> None:
    """Set the number of CPU threads of a network that uses torch."""
    torch = sys.modules.get('torch')
    if torch is not None:
        torch.set_num_threads(threads)
