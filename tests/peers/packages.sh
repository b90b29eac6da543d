#!/usr/bin/env bash
# Installs the Debian packages that the tests talk to: servers of every protocol that is probed,
# Nagios plugins, interpreters of the ready scripts. Nothing is started, here or at the next boot. What is
# there already is left alone, and without root this only says what is missing.
set -euo pipefail

packages="gcc libc6-dev binutils make python3 python3-venv openssl curl tar xz-utils shellcheck debootstrap systemd \
  monitoring-plugins-basic monitoring-plugins-standard liburiparser1 snmp bind9-dnsutils nagios-nrpe-plugin \
  postfix sasl2-bin libsasl2-modules libsasl2-modules-db \
  bind9 bind9-utils nginx-light tinyproxy redis-server postgresql mariadb-server dovecot-imapd dovecot-pop3d \
  openssh-server chrony mosquitto rabbitmq-server nats-server slapd snmpd iproute2 procps ansible-core ansible-lint \
  ngircd prosody rsyslog rsyslog-gnutls faketime libfaketime strace"

if ! command -v dpkg-query >/dev/null; then
  echo "this is no Debian; the tests need what these packages of Debian hold: $packages" >&2
  exit 0
fi

missing=()
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "the tests need packages that are missing; as root: apt-get install ${missing[*]}" >&2
  exit 1
fi

# Daemons of what is installed now shall not run on this machine: refuse to start them, unless
# somebody has a policy already, and disable what is new and would start at the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing ${missing[*]}"
# The tests bring their own configuration of the mail server.
debconf-set-selections <<<"postfix postfix/main_mailer_type select No configuration"
apt-get -qq update
apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
if command -v systemctl >/dev/null; then
  for package in "${missing[@]}"; do
    # Every unit that the package brought and that would start at the next boot.
    for unit in $(dpkg-query -L "$package" | sed -n 's|^.*/systemd/system/\([^/]*\.\(service\|socket\|timer\)\)$|\1|p'); do
      systemctl disable --quiet "$unit" 2>/dev/null || true
    done
  done
fi
