#!/usr/bin/env bash
# Everything that is checked besides the tests: format, lints, documentation, and licences where cargo-deny is installed.
set -euo pipefail

cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$1"; }

step 'format'
cargo fmt --all --check
step 'lints'
cargo clippy --locked --workspace --all-targets -- -D warnings
step 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
step 'licences, bans, sources'
if command -v cargo-deny >/dev/null 2>&1; then
  cargo deny --offline check licenses bans sources
else
  echo 'not checked: cargo-deny is not installed (cargo install --locked cargo-deny)'
fi
