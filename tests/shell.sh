#!/usr/bin/env bash
# For the tests in shell to source: how they wait and how they fail. A test that has more to tell than its
# message names a function for it, `explain`.

fail() {
  echo "$0: $*" >&2
  if declare -F explain >/dev/null; then explain >&2; fi
  exit 1
}

# Waits until a command succeeds.
await() {
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "not within a minute: $what"
    sleep 0.1
  done
}
