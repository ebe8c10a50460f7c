#!/usr/bin/env bash
# Sees to the system packages that a build, and with `tests` also the tests, need; does nothing when they are there.
# On Debian and its relatives missing ones are installed; elsewhere they are named and the script stops.
set -euo pipefail

missing=()
need() { # COMMAND PACKAGE...
  local command="$1"
  shift
  command -v "$command" >/dev/null 2>&1 || missing+=("$@")
}

# A few dependencies bring C code (zstd, SQLite, the TLS library's arithmetic): a C compiler is all they need.
need cc gcc libc6-dev
if [ "${1:-}" = tests ]; then
  # The tests start stand-ins for cloud services, which are programs for Node.js and Python.
  need node nodejs npm
  need npm npm
  need python3 python3 python3-venv
  # The store's tests start a PostgreSQL server; its programs are not on the search path.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  # The standard library of a Debian Python lacks the module by which environments are made.
  if command -v python3 >/dev/null 2>&1 && ! python3 -c 'import ensurepip' 2>/dev/null; then
    missing+=(python3-venv)
  fi
fi

if ! command -v cargo >/dev/null 2>&1; then
  echo "setup: the Rust toolchain is missing; install it with rustup, the version stands in rust-toolchain.toml" >&2
  exit 1
fi
[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
if ! command -v apt-get >/dev/null 2>&1 || { [ "${#as_root[@]}" -gt 0 ] && ! command -v sudo >/dev/null 2>&1; }; then
  echo "setup: please install these packages, then run this again: ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -q >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
