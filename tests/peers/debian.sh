#!/usr/bin/env bash
# A clean Debian of the release that this host runs, in the cache folder; prints where it is. It is
# made once, from the archive among apt's sources, and only ever copied.
#
#   tests/peers/debian.sh             the least there is
#   tests/peers/debian.sh --managed   as a host that Ansible manages: with systemd, D-Bus, sshd and Python
set -euo pipefail

cache=${VEILLEUR_PEERS:-$HOME/.cache/veilleur-peers}
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
root=$cache/$suite-root
managed=$cache/$suite-managed

if [ "${1:-}" = --managed ]; then
  packages="systemd systemd-sysv dbus openssh-server python3-minimal python3-apt"
  # One that was made before with other packages is made again.
  if [ "$(cat "$managed/.complete" 2>/dev/null)" != "$packages" ]; then
    clean=$("$0")
    rm -rf --one-file-system "$managed"
    cp -a "$clean" "$managed"
    rm "$managed/.complete"
    echo "making a managed Debian in $managed" >&2
    # shellcheck disable=SC2086
    if ! chroot "$managed" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive sh -ec \
      "apt-get -qq update; apt-get -qq install --yes --no-install-recommends $packages; apt-get clean" \
      >"$cache/managed.log" 2>&1; then
      tail -n 5 "$cache/managed.log" >&2
      exit 1
    fi
    echo "$packages" >"$managed/.complete"
  fi
  echo "$managed"
  exit 0
fi

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
