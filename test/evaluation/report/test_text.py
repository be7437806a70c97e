# SPDX-License-Identifier: Apache-2.0
"""Numbers and names as people read them."""

from __future__ import annotations

import math

import pytest

from spikeseg_ros.evaluation.report.text import clean, escape, number, picojoule, seconds, short


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, '\u2013'),
        (math.nan, '\u2013'),
        (math.inf, '\u2013'),
        (0, '0'),
        (7.0, '7'),
        (1234567, '1\u202f234\u202f567'),
        (0.12345, '0.123'),
        (-2.5, '\u22122.5'),
        (1234.5, '1\u202f234'),
        (0.00012345, '0.000123'),
        (True, 'yes'),
        ('5', '\u2013'),
    ],
)
def test_number(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (9999, '9\u202f999'),
        (12_345, '12.3\u202fk'),
        (2_500_000, '2.5\u202fM'),
        (999_999, '1\u202fM'),
        (None, '\u2013'),
    ],
)
def test_large_numbers_are_shortened(value: object, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (0.0, '0\u202fs'),
        (2.5e-5, '25\u202fµs'),
        (0.0123, '12.3\u202fms'),
        (4.56, '4.56\u202fs'),
        (0.99999, '1\u202fs'),
        (0.00099999, '1\u202fms'),
        (1e-9, '0.001\u202fµs'),
        (200.0, '3\u202fmin 20\u202fs'),
        (7500.0, '2\u202fh 5\u202fmin'),
        (None, '\u2013'),
        (math.nan, '\u2013'),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_energy_takes_a_readable_unit() -> None:
    assert [picojoule(value) for value in (12.0, 2.5e3, 14.65e6, 3e9)] == [
        '12\u202fpJ',
        '2.5\u202fnJ',
        '14.7\u202fµJ',
        '3\u202fmJ',
    ]


def test_markup_and_invisible_characters_are_defused() -> None:
    assert escape('<b a="1">&\'') == '&lt;b a=&quot;1&quot;&gt;&amp;&#x27;'
    assert clean('a\u202eb\x00c\ud800d\n') == 'a\ufffdb\ufffdc\ufffdd\ufffd'
    assert clean('x' * 500, 10) == 'x' * 9 + '…'
