#!/bin/sh
# Runs one test server on 127.0.0.1 until its standard input is closed, and then kills it: a test that starts it, and
# ends in whatever way, leaves nothing behind.
#
#     start.sh kinesis-mock PORT    Kinesis with the lineage of shards; slow beyond ten thousand records
#     start.sh ministack PORT       Kinesis for volume; forgets a shard that is split
#     start.sh oidc-provider PORT NOW REDIRECT_URI    an OpenID provider (see oidc_provider.js)
#
# By hand, Ctrl-C or Ctrl-D stops it. Exit code 3: the servers are not installed (see setup.sh).
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
tools=${EXPERIMENTLY_TOOLS:-$HOME/.cache/experimently/tools}
port=$2

case $1 in
  kinesis-mock)
    server=$tools/node/node_modules/kinesis-local
    [ -f "$tools/node.mark" ] && command -v node >/dev/null || exit 3
    # It has no setting for its address, and its port for TLS is not used: any free one will do.
    export NODE_OPTIONS="--require=$here/loopback.js"
    export KINESIS_MOCK_CERT_PATH="$server/server.json" KINESIS_MOCK_PLAIN_PORT="$port" KINESIS_MOCK_TLS_PORT=0
    export LOG_LEVEL=ERROR SHARD_LIMIT=500
    export CREATE_STREAM_DURATION=50ms SPLIT_SHARD_DURATION=50ms MERGE_SHARDS_DURATION=50ms
    set -- node "$server/main.js"
    ;;
  ministack)
    [ -f "$tools/python.mark" ] || exit 3
    export BIND_HOST=127.0.0.1 GATEWAY_PORT="$port" MINISTACK_HOST=127.0.0.1 IOT_MTLS_ENABLED=0 LOG_LEVEL=ERROR
    set -- "$tools/python/bin/ministack"
    ;;
  oidc-provider)
    [ -d "$tools/node/node_modules/oidc-provider" ] && command -v node >/dev/null || exit 3
    export NODE_PATH="$tools/node/node_modules" NODE_NO_WARNINGS=1
    set -- node "$here/oidc_provider.js" "$port" "$3" "$4"
    ;;
  *)
    echo "unknown server $1" >&2
    exit 2
    ;;
esac

exec 3<&0
"$@" </dev/null >&2 &
server=$!
# Not a plain kill: one of them closes its port on a polite signal and lives on.
(cat <&3 >/dev/null; kill -9 "$server" 2>/dev/null) &
watch=$!
trap 'kill -9 "$server" 2>/dev/null' INT TERM
wait "$server" || true
kill "$watch" 2>/dev/null || true
