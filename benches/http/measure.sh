#!/bin/sh
# Requests per second and latencies of evaluations over HTTP, beside a bare handler that answers with a constant.
# Needs `wrk`; build the servers first:
#
#     cargo build --workspace --release --example evaluation --example bare
#     benches/http/measure.sh [FOLDER_OF_THE_EXAMPLES] [SECONDS] [ROUNDS]
#
# The two servers take turns, so that what else the machine does meets both alike. One JSON object a line.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
examples=${1:-$here/../../target/release/examples}
seconds=${2:-10}
rounds=${3:-3}

measure() { # NAME PROGRAM PORT PATH CONNECTIONS BODY
  "$examples/$2" "127.0.0.1:$3" &
  server=$!
  trap 'kill "$server" 2>/dev/null' EXIT
  sleep 1
  BODY=$6 wrk -t 1 -c "$5" -d "${seconds}s" -s "$here/post.lua" "http://127.0.0.1:$3$4" | grep '^{' | sed "s/^{/{\"name\": \"$1\", \"connections\": $5, /"
  kill "$server"
  wait "$server" 2>/dev/null || true
}

context='"plan":"pro","country":"DE","email":"someone.else@mail.example.org","app_version":"5.12.3"'
native="{\"user_id\":\"user-4711\",\"context\":{$context}}"
protocol="{\"context\":{\"targetingKey\":\"user-4711\",$context}}"

round=0
while [ "$round" -lt "$rounds" ]; do
  for connections in 64 8; do
    measure bare-single bare 18081 /single "$connections" "$protocol"
    measure bare-json bare 18081 /json "$connections" "$protocol"
    measure ofrep-single evaluation 18082 /ofrep/v1/evaluate/flags/flag-7 "$connections" "$protocol"
    measure native-single evaluation 18082 /api/v1/feature-flags/flag-7/evaluate "$connections" "$native"
  done
  measure bare-bulk bare 18081 /bulk 64 "$protocol"
  measure ofrep-bulk evaluation 18082 /ofrep/v1/evaluate/flags 64 "$protocol"
  round=$((round + 1))
done
