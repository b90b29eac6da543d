#!/usr/bin/env bash
# Builds an agent that needs no library of the host, and prints where it is: static.sh [CARGO'S OPTIONS]
set -euo pipefail
cd "$(dirname "$0")/../.."

# With a target of its own, so that build scripts, which run here, are linked as usual.
target=$(rustc -vV | sed -n 's/^host: //p')
# Random numbers are asked of the kernel at once: without libraries that is not found out at run
# time, and devices may be missing.
export RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"'
profile=debug
for option in "$@"; do if [ "$option" = --release ]; then profile=release; fi; done
"${CARGO:-cargo}" build --locked --target "$target" --bin veilleur-agent "$@" >&2
printf '%s\n' "${CARGO_TARGET_DIR:-target}/$target/$profile/veilleur-agent"
