#!/usr/bin/env bash
# Measures the HTTP collector: batches acknowledged as durable a second, by connections and events a batch.
# Needs `wrk` and a release build; the data folder lies under DIR, so that the disk measured is the one meant.
# Usage: benches/collector.sh PROGRAM DIR [SECONDS]
set -euo pipefail

program="$1"
folder="$(mktemp -d "$2/collector-XXXXXX")"
seconds="${3:-5}"
here="$(cd "$(dirname "$0")" && pwd)"
"$program" serve --data "$folder" --listen 127.0.0.1:0 >"$folder.out" 2>"$folder.err" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf -- "$folder" "$folder.out" "$folder.err"' EXIT
until address="$(grep -o 'listening on http://[0-9.:]*' "$folder.out" | grep -o 'http.*')"; do sleep 0.1; done
cpu() { awk '{print ($14 + $15) / 100}' "/proc/$server/stat"; }
for batch in 1 100 1000; do
  for connections in 1 16 64; do
    before="$(cpu)"
    threads=$((connections < 2 ? 1 : 2))
    answer="$(wrk -t "$threads" -c "$connections" -d "${seconds}s" -s "$here/collector.lua" "$address/api/v1/events" -- "$batch" | grep answered)"
    printf 'connections %-3s batch %-5s %s, server CPU %s s of %s s\n' "$connections" "$batch" "$answer" \
      "$(awk -v a="$before" -v b="$(cpu)" 'BEGIN {printf "%.2f", b - a}')" "$seconds"
  done
done
