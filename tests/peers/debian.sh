#!/usr/bin/env bash
# A clean Debian of the release that this host runs, in the cache folder; prints where it is. It is
# made once, from the archive among apt's sources, and only ever copied.
set -euo pipefail

cache=${VEILLEUR_PEERS:-$HOME/.cache/veilleur-peers}
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
root=$cache/$suite-root

if [ -e "$root/.complete" ]; then
  echo "$root"
  exit 0
fi
uri=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | tr ' ' '\n' \
  | grep -E '/debian/?$' | head -n 1 || true)
if [ -z "$uri" ]; then
  uri=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list \
    /etc/apt/sources.list.d/*.list 2>/dev/null | grep -E '/debian/?$' | head -n 1 || true)
fi
if [ -z "$suite" ] || [ -z "$uri" ]; then
  echo "tests/peers/debian.sh: no Debian archive among apt's sources" >&2
  exit 1
fi
rm -rf --one-file-system "$root"
mkdir -p "$root"
echo "making a clean Debian in $root" >&2
if ! debootstrap --variant=minbase "$suite" "$root" "$uri" >"$cache/debootstrap.log" 2>&1; then
  tail -n 5 "$cache/debootstrap.log" >&2
  exit 1
fi
touch "$root/.complete"
echo "$root"
