#!/usr/bin/env bash
# Runs pytest in two processes side by side, with the arguments given: tests/pipeline and tests/common, and all the rest.
# Many tests wait for processes that they start, so two halves take little more than half of the time. What the second
# half prints comes at the end, as a whole. Exit code: 0 only if both passed.
set -uo pipefail
python="$1"
shift
rest="$(mktemp)"
trap 'rm -f "$rest"; kill 0 2>/dev/null' INT TERM
started=$SECONDS
"$python" -m pytest "$@" tests --ignore=tests/pipeline --ignore=tests/common >"$rest" 2>&1 &
second=$!
"$python" -m pytest "$@" tests/pipeline tests/common
first_status=$?
wait "$second"
second_status=$?
cat "$rest"
rm -f "$rest"
echo "Both halves: $((SECONDS - started)) s; exit codes $first_status (tests/pipeline, tests/common) and $second_status (the rest)"
[ "$first_status" = 0 ] && [ "$second_status" = 0 ]
