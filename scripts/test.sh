#!/usr/bin/env bash
# Sets up and runs every test. Arguments go to the test runner, as in `scripts/test.sh --package stats welch`.
# Nothing reaches beyond 127.0.0.1 once the packages are there.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/setup.sh tests
if [ -x tests/emulators/setup.sh ]; then
  tests/emulators/setup.sh
fi
[ "$#" -gt 0 ] || set -- --workspace --no-fail-fast
exec cargo test --locked "$@"
