#!/bin/sh
# Installs the servers and clients that the tests start into ${EXPERIMENTLY_TOOLS:-$HOME/.cache/experimently/tools}.
# Run it again at any time: what is there already, in the versions named here, is left alone.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
tools=${EXPERIMENTLY_TOOLS:-$HOME/.cache/experimently/tools}
mkdir -p "$tools"

# A mark is written last and goes first, so that an interrupted installation counts as none and is begun again.
is_current() { [ -f "$tools/$1.mark" ] && cmp -s "$tools/$1.mark" "$2"; }

if ! is_current node "$here/package-lock.json"; then
  rm -rf "$tools/node" "$tools/node.mark"
  mkdir -p "$tools/node"
  cp "$here/package.json" "$here/package-lock.json" "$tools/node/"
  (cd "$tools/node" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  cp "$here/package-lock.json" "$tools/node.mark"
fi

# install_python NAME REQUIREMENTS
install_python() {
  if ! is_current "$1" "$2"; then
    rm -rf "$tools/$1" "$tools/$1.mark"
    python3 -m venv "$tools/$1"
    "$tools/$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    cp "$2" "$tools/$1.mark"
  fi
}
install_python python "$here/requirements.txt"
install_python schemathesis "$here/requirements-schemathesis.txt"

echo "test servers are ready in $tools"
