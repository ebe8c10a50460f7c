#!/bin/sh
# Makes the data folder of the present format for the test of compatibility: a small lake with its expected analysis.
#
#     tests/flow/make_compat.sh PROGRAM FOLDER
#
# Only for a format that was never released; a released one keeps its folder for ever, and a new one gets a new number.
set -eu
program=$1
folder=$2
rm -rf "$folder"
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$program" generate --events 1500 --users 220 --experiments 2 --seed 1 --effect 0.5 --span-seconds 9000 --malformed 0.01 \
  --crossover 0.02 >"$work/all.ndjson"
sed -n 1,600p "$work/all.ndjson" | zstd -q -19 >"$folder/first.ndjson.zst"
sed -n 601,1200p "$work/all.ndjson" | zstd -q -19 >"$folder/second.ndjson.zst"
sed -n '1201,$p' "$work/all.ndjson" | zstd -q -19 >"$folder/more.ndjson.zst"
# Two commands make several epochs, of which the last is not in the full snapshot.
"$program" replay "$folder/first.ndjson.zst" --data "$folder/data" --snapshot-events 300 --format json
"$program" replay "$folder/second.ndjson.zst" --data "$folder/data" --format json
"$program" verify --data "$folder/data" --format json
"$program" results checkout_button --data "$folder/data" --format json >"$folder/results.json"
# The lock belongs to a process, not to the data.
rm -f "$folder/data/lock"
du -sk "$folder"
