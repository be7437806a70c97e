# SPDX-License-Identifier: Apache-2.0
"""Options: declared once, checked with clear errors, read from plain and ROS YAML."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from spikeseg_ros.perception.config import (
    ConfigError,
    PerceptionConfig,
    from_flat,
    load_config,
    options,
    to_flat,
)
from spikeseg_ros.perception.registry import FAMILIES, create
from spikeseg_ros.reference import table


def test_every_default_is_allowed_and_survives_a_round_trip() -> None:
    for item in options():
        assert item.check(item.default) == item.default
        assert item.description.endswith('.')
    assert from_flat(to_flat(PerceptionConfig())) == PerceptionConfig()


def test_options_name_every_field_exactly_once() -> None:
    names = [item.name for item in options()]
    assert len(names) == len(set(names))
    assert set(names) == set(to_flat(PerceptionConfig()))


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'events.window_ms': 0.0}, ['events.window_ms', '1.0', '1000.0', '0.0']),
        ({'events.window_ms': float('nan')}, ['events.window_ms', 'nan']),
        ({'events.window_ms': 'fast'}, ['events.window_ms', 'float', "'fast'"]),
        ({'model': 'yolo'}, ['model', 'spikeseg', "'yolo'"]),
        ({'tracking.enabled': 1}, ['tracking.enabled', 'bool']),
        ({'spikeseg.steps': True}, ['spikeseg.steps', 'int']),
        ({'window_ms': 20.0}, ["'window_ms'", "'events.window_ms'"]),
        ({'nonsense': 1}, ["'nonsense'", 'model']),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(
    values: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_flat(values)
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_are_taken_for_floats() -> None:
    value = from_flat({'events.window_ms': 20}).events.window_ms
    assert value == 20.0
    assert isinstance(value, float)


def test_plain_and_ros_yaml_mean_the_same(tmp_path: Path) -> None:
    plain = tmp_path / 'plain.yaml'
    plain.write_text('events: {window_ms: 20.0}\nobjects.min_events: 7\n')
    ros = tmp_path / 'ros.yaml'
    ros.write_text(
        '/**:\n  ros__parameters:\n    events: {window_ms: 20.0}\n'
        '/spikeseg/perception_node:\n  ros__parameters:\n    objects.min_events: 7\n'
        '    events_topic: /dvs/events\n    qos_overrides: {/x: {depth: 3}}\n'
        'other_node:\n  ros__parameters: {anything: 1}\n'
    )
    expected = from_flat({'events.window_ms': 20.0, 'objects.min_events': 7})
    assert load_config(plain) == expected
    assert load_config(ros, ignore=('events_topic', 'qos_overrides.*')) == expected


@pytest.mark.parametrize('text', ['a: [', '- 1\n- 2\n', 'model: 3'])
def test_bad_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='absent'):
        load_config(tmp_path / 'absent.yaml')


def test_reference_table_lists_every_option() -> None:
    text = table()
    for item in options():
        assert f'`{item.name}`' in text


def test_registry_knows_exactly_the_choices_of_the_option() -> None:
    model = next(item for item in options() if item.name == 'model')
    assert set(model.choices) == set(FAMILIES)
    with pytest.raises(ConfigError, match='unheard'):
        create(dataclasses.replace(PerceptionConfig(), model='unheard'))
