#!/usr/bin/env bash
# The agent's Debian package in a clean Debian: installed, run as its own user without any
# privilege, upgraded, removed, purged. Needs root, for the other root.
set -euo pipefail
cd "$(dirname "$0")/.."

root_cache=$(tests/peers/debian.sh)
program=${CARGO_TARGET_DIR:-target}/debug/veilleur-agent
work=$(mktemp -d)
agent=

if [ "${1:-}" != --inside ]; then
  # Mounts of our own, which go with us.
  exec unshare --mount --propagation private "$0" --inside
fi

# shellcheck source=tests/shell.sh
. tests/shell.sh

finish() {
  if [ -n "$agent" ]; then kill -KILL "$agent" 2>/dev/null || true; fi
  umount "$work/root/proc" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT

inside() {
  chroot "$work/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

echo "the package is built twice"
first=$(agent/deploy/debian/build.sh "$program" "$work/first")
second=$(agent/deploy/debian/build.sh "$program" "$work/second" 2)
cp -a "$root_cache" "$work/root"
cp "$first" "$work/root/first.deb"
cp "$second" "$work/root/second.deb"
mount -t proc proc "$work/root/proc"

unit=$work/root/lib/systemd/system/veilleur-agent.service
inside dpkg -i /first.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "it cannot be installed"; }
# With a program that is there: it is looked at from this root, not from the other.
sed "s#^ExecStart=/usr/bin/veilleur-agent#ExecStart=$(realpath "$program")#" "$unit" >"$work/veilleur-agent.service"
systemd-analyze --man=no verify "$work/veilleur-agent.service" >"$work/log" 2>&1 || true
! grep veilleur "$work/log" >&2 || fail "systemd complains about the unit"
install -D -m 644 -t "$work/veilleur-agent.service.d" "$work"/root/usr/share/veilleur-agent/*.conf
[ "$(find "$work/veilleur-agent.service.d" -name "*.conf" | wc -l)" = 3 ] || fail "drop-ins are missing"
systemd-analyze --man=no verify "$work/veilleur-agent.service" >"$work/log" 2>&1 || true
! grep veilleur "$work/log" >&2 || fail "systemd complains about a drop-in"
echo 'Delegated=pids' >>"$work/veilleur-agent.service.d/cgroups.conf"
systemd-analyze --man=no verify "$work/veilleur-agent.service" >"$work/log" 2>&1 || true
grep -q 'cgroups.conf.*Delegated' "$work/log" || fail "systemd has not read the drop-ins"
# 0 is nothing, 100 everything; services without any protection have 96.
systemd-analyze security --offline=true --no-pager --threshold=25 "$unit" >"$work/log" \
  || { tail -n 1 "$work/log" >&2; fail "the unit allows more than it should"; }
echo "the unit: $(tail -n 1 "$work/log" | sed 's/^[^O]*//')"

echo "installed"
inside getent passwd veilleur-agent >/dev/null || fail "there is no user"
[ "$(inside stat -c '%U:%G %a' /etc/veilleur/agent.yml)" = 'root:veilleur-agent 640' ] \
  || fail "the configuration is not as it should be"
inside test -L /etc/systemd/system/multi-user.target.wants/veilleur-agent.service || fail "not enabled"
inside test -s /usr/share/man/man1/veilleur-agent.1.gz || fail "no manual page"
inside bash -n /usr/share/bash-completion/completions/veilleur-agent || fail "no completion"
inside dpkg --verify veilleur-agent | { ! grep -v ' c ' ; } || fail "files differ from the package"
gzip -dc "$work/root/usr/share/man/man1/veilleur-agent.1.gz" | grep -q 'run\\-once' || fail "a manual of something else"

echo "run as its own user, with nothing that it could gain"
inside install -d -o veilleur-agent -g veilleur-agent -m 700 /var/lib/veilleur-agent
plain=(setpriv --reuid veilleur-agent --regid veilleur-agent --init-groups
  --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs)
inside "${plain[@]}" /usr/bin/veilleur-agent check /etc/veilleur/agent.yml
inside "${plain[@]}" /usr/bin/veilleur-agent run-once --config /etc/veilleur/agent.yml --check reboot-required
chroot "$work/root" env -i PATH=/usr/bin:/bin "${plain[@]}" /usr/bin/veilleur-agent \
  --config /etc/veilleur/agent.yml --listen 127.0.0.1:0 2>"$work/agent.log" &
agent=$!
await "it listens" grep -q 'listening on' "$work/agent.log"
url=$(grep -o 'http://[0-9.:]*' "$work/agent.log" | head -n 1)
curl -fs "$url/metrics" >"$work/metrics"
grep -q '^node_load1 ' "$work/metrics" || fail "the host is not shown"
grep -q '^node_textfile_scrape_error 0' "$work/metrics" || fail "the folder for files of metrics is not there"
grep -q '^veilleur_check_reason{check="failed-units"' "$work/metrics" || fail "the checks are not shown"
! grep -q WARN "$work/agent.log" || { cat "$work/agent.log" >&2; fail "it complains"; }
kill -TERM "$agent"
wait "$agent" || fail "it did not end well"
agent=

echo "upgraded: what was changed stays"
echo '# ours' >>"$work/root/etc/veilleur/agent.yml"
chmod 600 "$work/root/etc/veilleur/agent.yml"
touch "$work/root/var/lib/veilleur-agent/kept"
inside dpkg -i /second.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "it cannot be upgraded"; }
inside grep -q '^# ours' /etc/veilleur/agent.yml || fail "the configuration is another"
[ "$(inside stat -c %a /etc/veilleur/agent.yml)" = 600 ] || fail "the mode is another"
inside test -e /var/lib/veilleur-agent/kept || fail "the state is gone"
inside dpkg -s veilleur-agent | grep -q "^Version: $(dpkg-deb -f "$second" Version)$" || fail "the same version"

echo "removed: the configuration stays"
inside dpkg -r veilleur-agent >/dev/null 2>&1
inside test -e /etc/veilleur/agent.yml || fail "the configuration is gone"
inside test ! -e /usr/bin/veilleur-agent || fail "the program is there"

echo "purged: nothing stays"
inside dpkg -P veilleur-agent >"$work/log" 2>&1
for left in /etc/veilleur /var/lib/veilleur-agent /usr/lib/veilleur /etc/systemd/system/multi-user.target.wants/veilleur-agent.service; do
  inside test ! -e "$left" || fail "$left is still there"
done
! inside getent passwd veilleur-agent >/dev/null || fail "the user is still there"
! grep -qi 'warn\|error' "$work/log" || { cat "$work/log" >&2; fail "purging complains"; }
