# SPDX-License-Identifier: Apache-2.0
# Environment of the build that make has made. Source it in bash: source scripts/setup.bash
# Takes the ROS 2 that is sourced; otherwise the virtual environment .work/$ROS_DISTRO (default jazzy).
# Sets SPIKESEG_ROOT, SPIKESEG_WORK (folder of the build) and SPIKESEG_ROS (sourced or wheels).

SPIKESEG_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# Says whether the ROS 2 of the calling shell can be used: not one made here, nor another distribution's.
_spikeseg_ros_is_sourced() {
  [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ] || return 1
  [ -z "${SPIKESEG_FORCE_WHEELS:-}" ] || return 1
  case ":$AMENT_PREFIX_PATH:" in
    *":$SPIKESEG_ROOT/.work/"*/venv:*) return 1 ;;
    *":/opt/ros/$ROS_DISTRO:"*) ;;
    *":/opt/ros/"*) return 1 ;;
  esac
  python3 -c 'import rclpy' >/dev/null 2>&1
}

# Prints a list of prefixes without those that were built here.
_spikeseg_foreign_prefixes() {
  local prefix foreign='' IFS=:
  for prefix in ${1:-}; do
    case $prefix in
      "$SPIKESEG_ROOT"/.work/*) ;;
      *) foreign+=${foreign:+:}$prefix ;;
    esac
  done
  printf '%s' "$foreign"
}

# Sources a file that may use unset variables, whatever the options of the calling shell.
_spikeseg_source() {
  local options=$-
  set +u
  # shellcheck disable=SC1090
  source "$1"
  case $options in *u*) set -u ;; esac
}

if _spikeseg_ros_is_sourced; then
  SPIKESEG_ROS=sourced
  SPIKESEG_WORK=$SPIKESEG_ROOT/.work/$ROS_DISTRO-sourced
  AMENT_PREFIX_PATH=$(_spikeseg_foreign_prefixes "$AMENT_PREFIX_PATH")
  # Holds the Python packages that the system lacks, if any, and sees those of the system.
  if [ -f "$SPIKESEG_WORK/venv/bin/activate" ]; then
    _spikeseg_source "$SPIKESEG_WORK/venv/bin/activate"
  fi
else
  SPIKESEG_ROS=wheels
  export ROS_DISTRO=${ROS_DISTRO:-jazzy}
  SPIKESEG_WORK=$SPIKESEG_ROOT/.work/$ROS_DISTRO
  # Nothing of another ROS may be mixed in. The wheels' start-up hook sets LD_LIBRARY_PATH once.
  unset PYTHONPATH PYTHONHOME COLCON_PREFIX_PATH AMENT_CURRENT_PREFIX _ROS_WHEELS_BOOTSTRAP_COMPLETE
  if [ -n "${AMENT_PREFIX_PATH:-}" ]; then
    unset LD_LIBRARY_PATH
  fi
  unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH
  if [ -f "$SPIKESEG_WORK/venv/bin/activate" ]; then
    _spikeseg_source "$SPIKESEG_WORK/venv/bin/activate"
    export AMENT_PREFIX_PATH=$VIRTUAL_ENV CMAKE_PREFIX_PATH=$VIRTUAL_ENV
  fi
  export ROS_VERSION=2 ROS_PYTHON_VERSION=3
fi
if [ -z "${SPIKESEG_NO_OVERLAY:-}" ] && [ -f "$SPIKESEG_WORK/install/local_setup.bash" ]; then
  _spikeseg_source "$SPIKESEG_WORK/install/local_setup.bash"
fi
export SPIKESEG_ROOT SPIKESEG_WORK SPIKESEG_ROS
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$SPIKESEG_WORK/numba}
unset -f _spikeseg_ros_is_sourced _spikeseg_foreign_prefixes _spikeseg_source
