# SPDX-License-Identifier: Apache-2.0
"""Optional packages: the core imports without them, and who needs one says how to get it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spikeseg_ros import cli
from spikeseg_ros.extras import MissingExtraError, require

EXTRAS = ('matplotlib', 'motmetrics', 'pycocotools', 'sklearn', 'h5py', 'ray')


def test_a_module_that_is_there_is_returned() -> None:
    assert require('json.decoder', 'evaluate').JSONDecoder


def test_a_missing_module_names_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'spikeseg_ros\[evaluate\]'") as err:
        require('no_such_package.metrics', 'evaluate')
    assert "'no_such_package'" in str(err.value)
    assert '\n' not in str(err.value)


def test_the_command_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        require('no_such_package', 'formats')
        return 0

    monkeypatch.setattr(cli.Command, 'load', lambda _: fail)
    assert cli.main(['info']) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert "pip install 'spikeseg_ros[formats]'" in error


def test_metrics_and_truth_import_without_any_extra() -> None:
    code = (
        'import sys\n'
        f'sys.modules.update(dict.fromkeys({EXTRAS!r}))\n'
        'import spikeseg_ros.evaluation.metrics, spikeseg_ros.evaluation.truth\n'
        'from spikeseg_ros.evaluation.metrics import ConfusionMatrix, InstanceMetrics\n'
        'from spikeseg_ros.extras import MissingExtraError\n'
        'matrix = ConfusionMatrix(2)\n'
        'matrix.add([0], [0])\n'
        'assert matrix.accuracy == 1.0\n'
        'import numpy as np\n'
        'from spikeseg_ros.evaluation.metrics import Candidate, Region\n'
        'metric = InstanceMetrics(1)\n'
        'metric.add_sets([Candidate(np.ones(3, bool))], [Region(np.ones(3, bool))])\n'
        'try:\n'
        '    metric.result()\n'
        'except MissingExtraError as err:\n'
        '    print(err)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'spikeseg_ros[evaluate]' in done.stdout
