#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command in the built environment, on a ROS domain of its own: scripts/run.sh COMMAND [ARGUMENT ...]
set -euo pipefail

# shellcheck source=scripts/setup.bash
source "$(dirname "${BASH_SOURCE[0]}")/setup.bash"
[ -d "$SPIKESEG_WORK/install" ] || {
  echo "spikeseg_ros: nothing is built for ROS 2 $ROS_DISTRO yet: run 'make build'" >&2
  exit 1
}
if [ -z "${HOME:-}" ]; then
  export HOME=$SPIKESEG_WORK/home
  mkdir -p "$HOME"
fi
# The installed package has to win over the source folder, which lacks the generated messages.
export PYTHONSAFEPATH=1
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$SPIKESEG_ROOT
# Installed packages come without bytecode: compiled once here instead of in every process.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=${PYTHONPYCACHEPREFIX:-$SPIKESEG_WORK/pycache}
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$(python3 -m spikeseg_ros.nodes.domains)}
export ROS_LOG_DIR=${ROS_LOG_DIR:-$SPIKESEG_WORK/log/ros}
exec "$@"
