#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks style, types and the package manifests; runs everything, then fails where anything failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=0
check() {
  echo "-- $*"
  "$@" || failed=1
}

check python3 -m ruff check .
check python3 -m ruff format --check .
check python3 -m mypy
if command -v xmllint >/dev/null; then
  check xmllint --noout package.xml interfaces/*/package.xml
else
  echo '-- xmllint is not installed (apt install libxml2-utils): checked with Python alone'
fi
check python3 scripts/check_manifest.py package.xml interfaces/*/package.xml
[ "$failed" = 0 ] && echo 'lint: no problems' || echo 'lint: failed'
exit "$failed"
