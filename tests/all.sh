#!/usr/bin/env bash
# The whole check: what the tests need, format, clippy, all tests. A part that fails does not keep
# the others from running; at the end every part is named with its result and its time, and the
# status is that of the worst.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

results=()
failed=0

part() {
  local name=$1 began=$SECONDS result=passed
  shift
  printf '\n== %s\n' "$name"
  if ! "$@"; then
    result=FAILED
    failed=1
  fi
  results+=("$(printf '  %-28s %s  %4d s' "$name" "$result" $((SECONDS - began)))")
}

part "packages" tests/peers/packages.sh
part "reference programs" tests/peers/fetch.sh
part "Python for tests" tests/peers/python.sh
part "others' configurations" tests/peers/configurations.sh
part "format" cargo fmt --all --check
part "clippy" cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
# The acceptance tests start the real programs.
part "build" cargo build --locked --quiet --workspace --bins
part "package" tests/package.sh
part "a host with systemd" tests/systemd.sh
part "Ansible role" tests/ansible.sh
part "static program" tests/static.sh
part "unit tests" cargo test --locked --quiet --no-fail-fast --workspace --exclude tests
# These wait for timers and for other programs far more than they compute.
export RUST_TEST_THREADS=$((2 * $(nproc)))
for target in $(sed -n '/^\[\[test\]\]/,/^$/s/^name = "\(.*\)"/\1/p' tests/Cargo.toml); do
  part "$target" cargo test --locked --quiet -p tests --test "$target"
done

printf '\n== results\n'
printf '%s\n' "${results[@]}"
if [ "$failed" -ne 0 ]; then
  printf '\nsome parts FAILED; what went wrong stands above, under the name of the part\n'
fi
exit "$failed"
