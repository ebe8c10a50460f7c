#!/bin/sh
# Runs a script with the packages that setup.sh installed, in place of itself; without a script it only looks for them.
#
#     client.sh node [OPTION...] SCRIPT ARGUMENT...
#     client.sh python SCRIPT ARGUMENT...
#     client.sh schemathesis ARGUMENT...
#
# Exit code 3: the packages are not installed.
set -eu
tools=${EXPERIMENTLY_TOOLS:-$HOME/.cache/experimently/tools}
language=$1
shift

case $language in
  node)
    [ -d "$tools/node/node_modules/@openfeature/ofrep-web-provider" ] && command -v node >/dev/null || exit 3
    program=node
    export NODE_PATH="$tools/node/node_modules"
    ;;
  python)
    program=$tools/python/bin/python3
    [ -f "$tools/python.mark" ] && "$program" -c 'import openfeature.contrib.provider.ofrep' 2>/dev/null || exit 3
    ;;
  schemathesis)
    program=$tools/schemathesis/bin/schemathesis
    [ -f "$tools/schemathesis.mark" ] && "$program" --version >/dev/null 2>&1 || exit 3
    ;;
  *)
    echo "unknown language $language" >&2
    exit 2
    ;;
esac

[ "$#" -gt 0 ] || exit 0
export NO_PROXY=127.0.0.1
exec "$program" "$@"
