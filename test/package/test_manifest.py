# SPDX-License-Identifier: Apache-2.0
"""The files that describe the package agree with each other and with what is there."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
CMAKE = (ROOT / 'CMakeLists.txt').read_text()
# Of the public package, version 1.1.2 and later.
EVENT_PACKET_HASH = 'RIHS01_d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa'
EVENT_PACKET = [
    ('std_msgs/Header', 'header'),
    ('uint32', 'height'),
    ('uint32', 'width'),
    ('uint64', 'seq'),
    ('uint64', 'time_base'),
    ('string', 'encoding'),
    ('bool', 'is_bigendian'),
    ('uint8[]', 'events'),
]


def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    return parser


def fields(path: Path) -> list[tuple[str, str]]:
    """Return (type, name) of the fields of a message definition, without constants."""
    lines = (line.split('#')[0].split() for line in path.read_text().splitlines())
    return [(words[0], words[1]) for words in lines if len(words) == 2 and '=' not in words[1]]


def message_packages() -> set[str]:
    """Return the interface packages that our messages refer to."""
    types = [kind for path in ROOT.glob('msg/*.msg') for kind, _ in fields(path)]
    return {kind.split('/')[0] for kind in types if '/' in kind}


def test_one_version() -> None:
    version = MANIFEST.findtext('version')
    newest = re.search(r'^(\d+\.\d+\.\d+) \(', (ROOT / 'CHANGELOG.rst').read_text(), re.M)
    assert newest is not None
    assert newest.group(1) == version
    assert not config().has_option('metadata', 'version'), 'setup.py reads it from package.xml'
    printed = subprocess.run(
        [sys.executable, 'setup.py', '--version'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert printed.stdout.split()[-1] == version


def test_every_message_is_generated() -> None:
    named = re.findall(r'"msg/(\w+)\.msg"', CMAKE)
    assert sorted(named) == sorted(path.stem for path in ROOT.glob('msg/*.msg'))


def test_packages_of_the_messages_are_declared() -> None:
    packages = message_packages()
    declared = re.search(r'DEPENDENCIES ([\w ]+)', CMAKE)
    assert declared is not None
    assert set(declared.group(1).split()) == packages
    assert packages <= set(re.findall(r'find_package\((\w+) REQUIRED\)', CMAKE))
    assert packages <= {element.text for element in MANIFEST.iter('depend')}


def test_every_node_has_an_executable() -> None:
    nodes = re.search(r'foreach\(node ([\w ]+)\)', CMAKE)
    assert nodes is not None
    modules = {path.stem for path in (ROOT / 'spikeseg_ros' / 'nodes').glob('*_node.py')}
    assert set(nodes.group(1).split()) == modules


def test_console_scripts_are_installed_by_cmake_too() -> None:
    scripts = config()['options.entry_points']['console_scripts'].split('\n')
    pairs = {tuple(re.split(r'\s*=\s*', line.strip())) for line in scripts if line.strip()}
    installed = re.findall(r'install_entry_point\((\w+) \$\{PROJECT_NAME\}\.(\w+) bin', CMAKE)
    assert pairs == {(name, f'spikeseg_ros.{module}:main') for name, module in installed}


def test_stand_in_has_the_public_fields() -> None:
    path = ROOT / 'interfaces' / 'event_camera_msgs' / 'msg' / 'EventPacket.msg'
    assert fields(path) == EVENT_PACKET


@pytest.mark.parametrize('path', ['package.xml', 'interfaces/event_camera_msgs/package.xml'])
def test_manifest_is_valid(path: str) -> None:
    catkin_package = pytest.importorskip('catkin_pkg.package')
    warnings: list[str] = []
    package = catkin_package.parse_package(str(ROOT / path), warnings=warnings)
    assert package.package_format == 3
    assert warnings == []
    package.validate()


@pytest.mark.parametrize(
    'name', ['perception_node', 'visualizer_node', 'player_node', 'recorder_node', 'spikeseg']
)
@pytest.mark.ros
def test_executable_is_where_ros2_run_looks(name: str) -> None:
    index = pytest.importorskip('ament_index_python.packages')
    path = Path(index.get_package_prefix('spikeseg_ros')) / 'lib' / 'spikeseg_ros' / name
    assert path.stat().st_mode & 0o111


@pytest.mark.ros
def test_event_packets_have_the_public_type_hash() -> None:
    index = pytest.importorskip('ament_index_python.packages')
    share = Path(index.get_package_share_directory('event_camera_msgs'))
    description = share / 'msg' / 'EventPacket.json'
    if not description.is_file():
        pytest.skip('this ROS 2 has no type hashes')
    hashes = {
        item['type_name']: item['hash_string']
        for item in json.loads(description.read_text())['type_hashes']
    }
    assert hashes['event_camera_msgs/msg/EventPacket'] == EVENT_PACKET_HASH
