#!/usr/bin/env bash
# Runs every command of the README's `sh` blocks, in order, in one shell; ends with the first that fails.
# Standard input is empty, so what is interactive ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."
# The README speaks of ./target.
unset CARGO_TARGET_DIR
commands=$(awk '/^```sh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md)
[ "$(wc -l <<<"$commands")" -ge 18 ] || { echo "the README has fewer commands than it should"; exit 1; }
# From a file of its own: a command that reads standard input must not read the commands after it.
script=$(mktemp)
trap 'rm -f "$script" lunch.jsonl backup.jsonl' EXIT
printf 'set -euxo pipefail\n%s\n' "$commands" >"$script"
bash "$script" </dev/null
