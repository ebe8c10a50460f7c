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

"$program" generate --events 2400 --users 400 --experiments 2 --seed 1 --effect 0.5 >"$work/all.ndjson"
head -n 1800 "$work/all.ndjson" | zstd -q -19 >"$folder/events.ndjson.zst"
tail -n +1801 "$work/all.ndjson" | zstd -q -19 >"$folder/more.ndjson.zst"
"$program" replay "$folder/events.ndjson.zst" --data "$folder/data" --commit-records 1000 --snapshot-events 1000 --format json
"$program" verify --data "$folder/data" --format json
"$program" results checkout_button --data "$folder/data" --format json >"$folder/results.json"
# The lock belongs to a process, not to the data.
rm -f "$folder/data/lock"
du -sk "$folder"
