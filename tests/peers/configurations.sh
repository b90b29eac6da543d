#!/usr/bin/env bash
# Unpacks what Debian's packages of Nagios, Icinga 2 and Monit bring as their configuration (nothing
# is installed or started), for the tests of moving in.
#
#   tests/peers/configurations.sh           unpack what is missing
#   tests/peers/configurations.sh --where   print the folder
#
# Into VEILLEUR_PEERS, by default ~/.cache/veilleur-peers.
set -euo pipefail

root=${VEILLEUR_PEERS:-$HOME/.cache/veilleur-peers}/configurations
if [ "${1:-}" = --where ]; then
  echo "$root"
  exit 0
fi
[ -e "$root/etc/nagios4" ] && [ -e "$root/etc/icinga2" ] && [ -e "$root/etc/monit" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "unpacking the configurations of Nagios, Icinga 2 and Monit into $root"
mkdir -p "$root"
(cd "$work" && apt-get -qq -o "APT::Sandbox::User=$(id -un)" download nagios4-common icinga2-common monit)
for package in "$work"/*.deb; do
  dpkg -x "$package" "$root"
done
