# SPDX-License-Identifier: Apache-2.0
"""The pages in a real browser, where one is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from spikeseg_ros.evaluation.report import write_report
from spikeseg_ros.evaluation.report.compare import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeRun = Callable[..., Path]

BROWSER = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), ''
)
HOSTILE = '"><script src="http://example.com/a.js">x</script><img src="http://example.com/b.png">'


def visit(page: Path, profile: Path) -> tuple[str, list[str]]:
    """Open a page; return what the console said and the addresses that were asked for."""
    log = profile.with_suffix('.json')
    words = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run']
    words += ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    words += ['--disable-quic', '--disable-dev-shm-usage', '--enable-logging=stderr']
    # The browser's own calls home are not the page's; they go nowhere.
    words += ['--host-resolver-rules=MAP * ~NOTFOUND']
    words += [f'--user-data-dir={profile}', f'--log-net-log={log}', '--dump-dom', page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert '<h1>' in done.stdout
    addresses = [
        item['params']['url']
        for item in json.loads(log.read_text(encoding='utf-8'))['events']
        if 'url' in item.get('params', {})
    ]
    return '\n'.join(line for line in done.stderr.splitlines() if 'CONSOLE' in line), addresses


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason='needs Chromium')
def test_browser_has_nothing_to_complain_about_and_nothing_to_fetch(
    tmp_path: Path, make_run: MakeRun
) -> None:
    one = make_run(tmp_path / 'one', truth=True, name=HOSTILE, topic=HOSTILE)
    other = make_run(tmp_path / 'other', shift=3, options={'objects.fill': 2})
    compared = tmp_path / 'compare.html'
    assert main([str(one), str(other), '--output', str(compared)]) == 0
    probe = tmp_path / 'probe.html'
    probe.write_text(
        '<h1>x</h1><script>console.error("heard")</script><img src="http://127.0.0.1:9/seen.png">',
        encoding='utf-8',
    )
    console, addresses = visit(probe, tmp_path / 'probe')
    # The test can fail: a page that complains and fetches is noticed.
    assert 'heard' in console
    assert any('seen.png' in address for address in addresses)
    for number, page in enumerate((write_report(one), compared)):
        console, addresses = visit(page, tmp_path / f'profile{number}')
        assert console == ''
        assert not [address for address in addresses if 'example.com' in address]
