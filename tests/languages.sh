#!/usr/bin/env bash
# The same tool in every language, from nothing: its template is written, the commands that `puna plugin new` prints are
# run, and an agent calls the tool. Fails unless what comes of the call is the same in all of them.
#
# Needs what builds the plugins: Rust's target `wasm32-unknown-unknown` (or Debian's rustc-web, see `puna plugin build`),
# Python's venv and pip, npm, and clang lld wasi-libc libclang-rt-dev-wasm32. Nothing is skipped.
# `LANGUAGES="javascript c"` takes these alone; the last must be c, which an agent uses while it is written.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
puna=$(realpath "${PUNA:-target/release/puna}")
PATH="$(dirname "$puna"):$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "$1" >&2; exit 1; }

# What an agent's call came to: the arguments that the model chose, and the result.
calls() {
    python3 -c '
import json, sys
events = [json.loads(line) for line in sys.stdin]
for event in events:
    if event["event"] == "tool_started":
        print(json.dumps(event["call"]["arguments"]))
    if event["event"] == "tool_finished":
        print(json.dumps(event["result"]["outcome"]))'
}

expected=""
for language in ${LANGUAGES:-rust python javascript c}; do
    printf '\n--- %s (%s)\n' "$language" "$(date +%T)"
    cd "$work"
    printed=$(puna plugin new --lang "$language" --folder "$work/$language" greeter)
    echo "$printed"
    case $language in
    python | javascript)
        # Nothing is installed yet, which is told with the remedy.
        told=$(puna plugin build "$language" 2>&1) && fail "$language: built by what is not there"
        grep -q "install it with" <<<"$told" || fail "$language: no remedy in: $told"
        ;;
    esac
    # The compilers of Rust and C are the system's: whoever runs this has installed them.
    sed -n 's/^  //p' <<<"$printed" | grep -v -e '^rustup ' -e '^apt-get ' >commands
    bash -euo pipefail -c '. ./commands' </dev/null | tee said
    grep -q "4 cases passed" said || fail "$language: the template does not pass its own test"
    grep -qF '{"text":"Hello, Ada!"}' said || fail "$language: the call does not greet"
    puna plugin inspect "$language/greeter.wasm" --json >inspected
    puna plugin build --check "$language"

    cat >agent.yaml <<EOF
version: 1
name: greeter
model:
  path: $root/examples/models/puna-tiny
  context: 1024
  options: {temperature: 0, max_tokens: 128}
instructions: Greet people with the tool.
tools:
  - plugin: $work/$language/greeter.wasm
memory: {conversation: false}
limits: {steps: 4, time: 60s}
EOF
    called=$(puna run agent.yaml --json --tool-choice greet "Greet Ada, please." </dev/null | calls)
    echo "$called"
    grep -q '"status": "success"' <<<"$called" || fail "$language: the agent's call failed"
    arguments=$(head -n 1 <<<"$called")
    result=$(puna plugin call "$language/greeter.wasm" greet "$arguments")
    # The model is shown each plugin's own schema, so that it may choose other arguments for Rust's, which comes from a
    # type. The first language's are what all are called with.
    : "${expected_arguments:=$arguments}"
    : "${expected:=$result}"
    same=$(puna plugin call "$language/greeter.wasm" greet "$expected_arguments")
    [ "$same" = "$expected" ] || fail "$language: $same instead of $expected"
    python3 - "$called" "$result" <<'EOF' || fail "$language: the agent had another result"
import json, sys
assert json.loads(sys.argv[1].splitlines()[1])["value"] == json.loads(sys.argv[2])
EOF
done
printf '\n--- an agent, while the plugin in C is written (%s)\n' "$(date +%T)"
# Waits until the chat has said so, so many times.
said_times() {
    for _ in $(seq 600); do
        [ "$(grep -c -- "$1" said)" -ge "$2" ] && return
        kill -0 "$chat" || break
        sleep 0.1
    done
    cat said >&2
    fail "dev: never said $1"
}
mkfifo questions
puna plugin dev c --agent agent.yaml --tool-choice greet <questions >answers 2>said &
chat=$!
exec 3>questions
echo "Greet Ada, please." >&3
said_times "← greet" 1
cp c/src/plugin.c good.c
echo "nonsense" >>c/src/plugin.c
said_times "does not build" 1
echo "Greet Ada, please." >&3
said_times "← greet" 2
grep -q dear said && fail "dev: a build that failed was used"
sed -i 's/, Ada!/, dear Ada!/; s/Moin, /Moin, dear /' c/tests.yaml
sed 's/"%s, %s!"/"%s, dear %s!"/' good.c >c/src/plugin.c
said_times "goes to the new component" 1
echo "Greet Ada, please." >&3
said_times "← greet" 3
grep "← greet" said
grep "← greet" said | tail -n 1 | grep -q dear || fail "dev: the next call is not the new component's"
exec 3>&-
wait "$chat"
puna plugin dev c 2>said &
chat=$!
said_times "4 cases passed" 1
# It may not listen yet.
while kill -INT "$chat" 2>/dev/null; do sleep 0.1; done
wait "$chat"

printf '\nall agree: %s\n' "$expected"
