#!/usr/bin/env bash
# What a call of the same tool costs in each language: the template of `puna plugin new`, built and measured with
# `puna plugin bench`. The first language is Rust, which the others are compared with.
#
#   cargo build --release && bash tests/bench/guests.sh
#
# Needs what builds the plugins, see tests/languages.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
puna=$(realpath "${PUNA:-target/release/puna}")
PATH="$(dirname "$puna"):$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for language in ${LANGUAGES:-rust python javascript c}; do
    printed=$(puna plugin new --lang "$language" --folder "$work/$language" greeter)
    sed -n 's/^  //p' <<<"$printed" | grep -v -e '^rustup ' -e '^apt-get ' -e ' test ' -e ' call ' >commands
    bash -euo pipefail -c '. ./commands' </dev/null >&2
    puna plugin bench "$language/greeter.wasm" greet '{"name": "Ada"}' --json >"$language.json"
done
python3 - ${LANGUAGES:-rust python javascript c} <<'EOF'
import json, os, sys
print(f"{'':12}{'component':>11}{'compile':>11}{'ready':>9}{'fresh call':>13}{'warm call':>12}{'fresh, to the first':>21}")
first = None
for language in sys.argv[1:]:
    report = json.load(open(f"{language}.json"))
    fresh, warm = report["fresh_us"]["median"], report["warm_us"]["median"]
    first = first or fresh
    size = os.path.getsize(f"{language}/greeter.wasm") / 1024
    print(f"{language:12}{size:>7.0f} KiB{report['compile_ms']:>8.0f} ms{report['ready_ms']:>6.1f} ms"
          f"{fresh:>10.1f} us{warm:>9.1f} us{fresh / first:>20.1f}x")
    assert report["failed"] == 0, report
EOF
