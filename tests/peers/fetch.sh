#!/usr/bin/env bash
# Unpacks the reference programs that the tests talk to (nothing is installed or started):
# Prometheus and promtool, Alertmanager and amtool, node_exporter, blackbox_exporter,
# VictoriaMetrics. The stable release of Debian has a Prometheus of the older generation, so they
# come from the unstable suite of the archive that this machine already uses.
#
#   tests/peers/fetch.sh           unpack what is missing
#   tests/peers/fetch.sh --where   print the folder with the programs
#
# Into VEILLEUR_PEERS, by default ~/.cache/veilleur-peers.
set -euo pipefail

cache=${VEILLEUR_PEERS:-$HOME/.cache/veilleur-peers}
bin=$cache/root/usr/bin
packages="prometheus promtool prometheus-alertmanager prometheus-node-exporter \
  prometheus-blackbox-exporter victoria-metrics"
programs="prometheus promtool prometheus-alertmanager amtool prometheus-node-exporter \
  prometheus-blackbox-exporter victoria-metrics"

if [ "${1:-}" = --where ]; then
  echo "$bin"
  exit 0
fi

complete() {
  local program
  for program in $programs; do
    [ -x "$bin/$program" ] || return 1
  done
}
complete && exit 0

# The Debian archive among the sources of apt, in either of their two forms.
archive() {
  sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | tr ' ' '\n' \
    | grep -E '/debian/?$' | head -n 1 && return
  sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list \
    /etc/apt/sources.list.d/*.list 2>/dev/null | grep -E '/debian/?$' | head -n 1
}
uri=$(archive || true)
if [ -z "$uri" ]; then
  echo "tests/peers/fetch.sh: no Debian archive among apt's sources" >&2
  exit 1
fi

work=$cache/apt
mkdir -p "$work/lists/partial" "$work/debs/partial" "$cache/root"
cat >"$work/unstable.sources" <<SOURCES
Types: deb
URIs: $uri
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
options=(-qq -o "Dir::State::lists=$work/lists" -o "Dir::Etc::sourcelist=$work/unstable.sources"
  -o Dir::Etc::sourceparts=- -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
  -o "APT::Sandbox::User=$(id -un)")
echo "fetching the reference programs into $cache"
apt-get "${options[@]}" update
# shellcheck disable=SC2086
(cd "$work/debs" && apt-get "${options[@]}" download $packages)
for package in "$work"/debs/*.deb; do
  dpkg -x "$package" "$cache/root"
done
rm -rf "$work"
complete || { echo "tests/peers/fetch.sh: some programs are missing in $bin" >&2; exit 1; }
