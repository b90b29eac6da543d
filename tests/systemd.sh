#!/usr/bin/env bash
# The agent's package on a host that systemd has really booted: units that run, fail, restart in a loop,
# are masked or not there; the journal, rotated, emptied and read on after a restart; what a unit takes,
# by the kernel's own numbers; what a script may take. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --inside ]; then
  # Mounts of our own, which go with us.
  exec unshare --mount --propagation private "$0" --inside
fi
# shellcheck source=tests/booted.sh
. tests/booted.sh

echo "a host boots"
program=$(realpath "${CARGO_TARGET_DIR:-target}/debug/veilleur-agent")
package=$(agent/deploy/debian/build.sh "$program" "$work/package")
boot --unified
listen=127.0.0.1:$(free_port)

metrics() { curl -fsS -m 5 "http://$listen/metrics"; }
# Whether a line of the metrics is there, as it is.
line() { grep -xF "$1" <<<"$(metrics)"; }
# The value of a series, or nothing.
value() { metrics | awk -v series="$1 " 'index($0, series) == 1 { print substr($0, length(series) + 1) }'; }
is() { [ "$(value "$1")" = "$2" ]; }
# Waits until a check is as it should be: its name, its status, its reason.
check() {
  await "$1 is $2 for the reason $3" line "veilleur_check_reason{check=\"$1\",reason=\"$3\"} 1"
  await "$1 is $2" is "veilleur_check_status{check=\"$1\"}" "$2"
}
unit() { cat >"$root/etc/systemd/system/$1"; }
matches() { is "veilleur_log_matches_total{check=\"$1\",path=\"journal\",pattern=\"$2\"}" "$3"; }

unit good.service <<'UNIT'
[Service]
ExecStart=/bin/sleep infinity
UNIT
unit broken.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/false
UNIT
unit loop.service <<'UNIT'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/false
Restart=always
RestartSec=200ms
UNIT
unit flaky.service <<'UNIT'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sleep 0.5
Restart=always
RestartSec=0
UNIT
# It takes a second of a processor, keeps 64 MiB and writes 8, then sleeps.
cat >"$root/usr/local/bin/busy" <<'PROGRAM'
#!/usr/bin/python3
import os, time
held = os.urandom(1 << 20) * 64
with open("/var/lib/busy", "wb") as file:
    file.write(held[: 8 << 20])
    os.fsync(file.fileno())
while time.process_time() < 1:
    pass
open("/run/busy", "w").close()
time.sleep(86400)
PROGRAM
chmod 755 "$root/usr/local/bin/busy"
unit busy.service <<'UNIT'
[Service]
ExecStart=/usr/local/bin/busy
CPUAccounting=yes
MemoryAccounting=yes
IOAccounting=yes
UNIT
# Each of its processes stays below the limit that they exceed together.
cat >"$root/usr/local/bin/hog" <<'PROGRAM'
#!/usr/bin/python3
import os, time
for _ in range(4):
    if os.fork() == 0:
        held = os.urandom(1 << 20) * 60
        time.sleep(5)
        os._exit(0)
for _ in range(4):
    os.wait()
print("OK: nobody has stopped it")
PROGRAM
chmod 755 "$root/usr/local/bin/hog"
ln -s /dev/null "$root/etc/systemd/system/masked.service"
mkdir -p "$root/etc/veilleur"
cat >"$root/etc/veilleur/agent.yml" <<CONFIG
listen: $listen
host: {collectors: [cgroup_usage]}
checks:
- {name: good, interval: 1s, probe: {systemd: {units: [good.service]}}}
- {name: many, interval: 1s, probe: {systemd: {units: ['goo*', busy]}}}
- {name: broken, interval: 1s, probe: {systemd: {units: [broken.service]}}}
- {name: broken-wanted, interval: 1s, probe: {systemd: {units: [broken.service], state: failed}}}
- {name: loop, interval: 1s, probe: {systemd: {units: [loop.service]}}}
- {name: restarts, interval: 1s, probe: {systemd: {units: [flaky.service], thresholds: {restarts: {crit: 0}}}}}
- {name: masked, interval: 1s, probe: {systemd: {units: [masked.service]}}}
- {name: unknown, interval: 1s, probe: {systemd: {units: [nothing.service]}}}
- {name: failed, interval: 1s, probe: {systemd: {failed: true}}}
- {name: but-broken, interval: 1s, probe: {systemd: {failed: true, ignore: [broken.service]}}}
- {name: journal, interval: 1s, probe: {journal: {patterns: [{name: word, matches: '^canary-[0-9]+$', crit: 0}]}}}
- {name: journal-unit, interval: 1s, probe: {journal: {units: [noisy.service], priority: info, patterns: [{name: word, matches: '^canary-[0-9]+$'}]}}}
- {name: hog, interval: 10s, timeout: 8s, probe: {script: {command: [/usr/local/bin/hog], limits: {memory: 128MiB}}}}
CONFIG
cp "$package" "$root/agent.deb"
remote systemctl daemon-reload
remote systemctl start --no-block good.service busy.service loop.service flaky.service
remote systemctl start --quiet broken.service 2>/dev/null || true
remote env DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /agent.deb >"$work/log" 2>&1 || fail "the package cannot be installed"
await "the agent answers" metrics

echo "the agent of the package has the rights that units need, and no right to the journal of others"
check journal 3 permission-denied
remote install -D -m 644 -t /etc/systemd/system/veilleur-agent.service.d \
  /usr/share/veilleur-agent/journal.conf /usr/share/veilleur-agent/cgroups.conf
remote 'systemctl daemon-reload && systemctl restart veilleur-agent'
await "the agent answers again" metrics

echo "units as they are"
check good 0 none
check many 0 none
check broken 2 unit-state
check broken-wanted 0 none
check loop 2 unit-state
await "restarts are judged" line 'veilleur_check_reason{check="restarts",reason="threshold"} 1'
check masked 2 unit-state
check unknown 2 unit-state
check failed 2 unit-state
check but-broken 0 none
await "failed units are counted" is 'veilleur_systemd_failed_units{check="failed"}' 1
before=$(value 'veilleur_systemd_unit_restarts_total{check="loop",unit="loop.service"}')
more_restarts() { [ "$(value 'veilleur_systemd_unit_restarts_total{check="loop",unit="loop.service"}')" -gt "$((before + 2))" ]; }
await "restarts are counted" more_restarts
remote systemctl stop good.service loop.service flaky.service
check good 2 unit-state
check many 2 unit-state
remote systemctl start good.service
check good 0 none
remote systemctl reset-failed broken.service
check failed 0 none
check broken 2 unit-state

echo "the journal"
check journal 0 none
check journal-unit 0 none
remote logger canary-1
await "a message of logger counts" matches journal word 1
remote 'echo canary-2 | systemd-cat -t test'
await "one of systemd-cat, too" matches journal word 2
# The unit has been silent until now.
remote systemd-run --quiet --wait --unit=noisy.service /bin/echo canary-3
await "the first message of a unit counts" matches journal-unit word 1
await "and among all" matches journal word 3
remote journalctl --rotate
remote logger canary-4
await "one after a rotation counts, once" matches journal word 4
# The message that was read last is gone with its file.
remote 'journalctl --rotate --quiet && journalctl --vacuum-size=1 --quiet && logger canary-5'
await "one in an emptied journal counts, once" matches journal word 5
remote systemd-run --quiet --wait --unit=noisy.service /bin/echo canary-6
await "of the unit, too" matches journal-unit word 2
await "and among all" matches journal word 6
remote systemctl stop veilleur-agent
remote 'logger canary-7; logger canary-8'
remote systemctl start veilleur-agent
await "what came while nobody looked counts, once" matches journal word 2
remote logger canary-9
await "and so on" matches journal word 3
matches journal-unit word 0 || fail "a message of before counts again"

echo "what a unit takes, by the kernel's numbers"
await "the unit has done its work" remote test -e /run/busy
busy=/system.slice/busy.service
labels="{cgroup=\"$busy\",container=\"\",unit=\"busy.service\"}"
kernel() { remote "sed -n 's/^$1 //p' /sys/fs/cgroup$busy/cpu.stat"; }
same_cpu() {
  awk -v user="$(value "veilleur_cgroup_cpu_user_seconds_total$labels")" -v users="$(kernel user_usec)" \
    -v own="$(value "veilleur_cgroup_cpu_system_seconds_total$labels")" -v owns="$(kernel system_usec)" \
    'BEGIN { exit !(sprintf("%.0f", user * 1e6) == users && sprintf("%.0f", own * 1e6) == owns && users + owns >= 9e5) }'
}
await "its processor time is that of the kernel" same_cpu
controllers=$(remote cat /sys/fs/cgroup/cgroup.controllers)
has() { [[ " $controllers " == *" $1 "* ]]; }
if has memory; then
  held() { [ "$(value "veilleur_cgroup_memory_bytes$labels")" -ge $((64 << 20)) ]; }
  await "its memory is told" held
fi
if has io; then
  written() { [ "$(value "veilleur_cgroup_io_written_bytes_total$labels")" -ge $((8 << 20)) ]; }
  await "what it has written is told" written
fi
if has pids; then
  await "its tasks are told" is "veilleur_cgroup_tasks$labels" 1
fi
if has memory && has pids; then
  remote journalctl --unit veilleur-agent | grep -q 'scripts run in control groups' || fail "there are no control groups"
  check hog 2 killed
else
  echo "  (the kernel has only these controllers in version 2: ${controllers:-none})"
  # Then each process of the script has the limit for itself.
  check hog 0 none
fi
! remote journalctl --no-pager -u veilleur-agent | grep -i 'panic' || fail "it panicked"
