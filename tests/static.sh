#!/usr/bin/env bash
# The agent as a static program, in a root with nothing but itself: it runs, shows the host, and
# finds names by itself, whatever nsswitch.conf says. The server of names is Debian's bind9. Needs
# root, for the other root.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --inside ]; then
  program=$(agent/deploy/static.sh --quiet)
  # Mounts and a network of our own, which go with us: port 53 is free there.
  exec unshare --mount --net --propagation private "$0" --inside "$program"
fi

program=$2
work=$(mktemp -d)
chmod 755 "$work"
root=$work/root
named=
agent=

# shellcheck source=tests/shell.sh
. tests/shell.sh

finish() {
  for pid in $named $agent; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  umount "$root/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT

echo "it needs no library"
! ldd "$program" >/dev/null 2>&1 || [ "$(ldd "$program" | tr -d '\t')" = 'statically linked' ] || fail "it is not static"

mkdir -p "$root/etc" "$root/proc" "$root/tmp" "$root/lib/x86_64-linux-gnu"
cp "$program" "$root/agent"
mount -t proc proc "$root/proc"
ip link set lo up

cat >"$work/named.conf" <<CONF
options { directory "$work"; pid-file none; listen-on port 53 { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; session-keyfile none; };
zone "shop.test" { type primary; file "$work/zone"; };
CONF
cat >"$work/zone" <<'ZONE'
$TTL 60
@ SOA ns.shop.test. root.shop.test. 1 60 60 60 60
@ NS ns.shop.test.
ns A 127.0.0.1
db A 127.0.0.1
www CNAME db
text TXT "no address"
six AAAA ::1
ZONE
/usr/sbin/named -f -c "$work/named.conf" >"$work/named.log" 2>&1 &
named=$!
await "the server of names answers" bash -c 'exec 3<>/dev/tcp/127.0.0.1/53'

printf '127.0.0.1 listed listed.test\n' >"$root/etc/hosts"
printf 'nameserver 127.0.0.1\nsearch shop.test\noptions timeout:2 attempts:1\n' >"$root/etc/resolv.conf"
# What the system's resolver would load, and could not.
printf 'hosts: broken files dns\npasswd: broken files\n' >"$root/etc/nsswitch.conf"
printf 'not a library' >"$root/lib/x86_64-linux-gnu/libnss_broken.so.2"

checks() {
  echo 'checks:'
  while read -r name address; do
    echo "- {name: $name, interval: 1m, probe: {tcp: {address: '$address:53'}}}"
  done <<'LIST'
listed listed
by-name db.shop.test
alias www.shop.test
searched db
missing none.shop.test
no-address text.shop.test
by-number 127.0.0.1
LIST
}
checks >"$root/agent.yml"

echo "it finds names by itself"
chroot "$root" /agent check /agent.yml >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "it does not run"; }
chroot "$root" /agent run-once --config /agent.yml >"$work/said" 2>&1 || true
says() {
  grep -q "^$1 *$2 .*$3" "$work/said" || { cat "$work/said" >&2; fail "$1 is not \`$2 $3\`"; }
}
for name in listed by-name alias searched by-number; do says "$name" ok 'connected to 127.0.0.1:53'; done
says missing critical 'Name or service not known'
# With a domain to search, the last name that was tried does not exist.
says no-address critical 'resolve text.shop.test: N'

rm "$root/etc/hosts" "$root/etc/resolv.conf"
chroot "$root" /agent run-once --config /agent.yml --check by-number >"$work/said" 2>&1 || true
says by-number ok 'connected'
chroot "$root" /agent run-once --config /agent.yml --check by-name >"$work/said" 2>&1 || true
says by-name critical 'resolve db.shop.test'

echo "it shows the host"
chroot "$root" /agent --config /agent.yml --listen 127.0.0.1:0 2>"$work/log" &
agent=$!
await "it listens" grep -q 'listening on' "$work/log"
url=$(grep -o 'http://[0-9.:]*' "$work/log" | head -n 1)
curl -fs "$url/metrics" >"$work/metrics"
for metric in node_load1 node_memory_MemTotal_bytes 'node_cpu_seconds_total{cpu="0",mode="user"}'; do
  grep -qF "$metric" "$work/metrics" || fail "there is no $metric"
done
kill -TERM "$agent"
wait "$agent" || fail "it did not end well"
agent=
