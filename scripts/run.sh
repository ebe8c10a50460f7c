#!/usr/bin/env bash
# Sets up, builds and runs the program on the embedded default: no database, stream or bucket is needed.
# Without arguments it shows the demo; otherwise the arguments go to the program, as in `scripts/run.sh results --help`.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
"$root/scripts/setup.sh"
[ "$#" -gt 0 ] || set -- demo
# The caller's folder stays the current one, so that paths mean what they say; cargo finds the lock file by itself.
exec cargo run --locked --release --manifest-path "$root/Cargo.toml" --package cli --bin experimently -- "$@"
