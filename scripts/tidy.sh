#!/usr/bin/env bash
# Runs the house rules alone: they need the standard library only, so nothing else is compiled.
set -euo pipefail

cd "$(dirname "$0")/.."
program="$(mktemp -d)"
trap 'rm -rf -- "$program"' EXIT
CARGO_MANIFEST_DIR="$PWD/tests" rustc --edition 2024 --test tests/tests/tidy.rs -o "$program/tidy"
"$program/tidy" "$@"
