#!/usr/bin/env bash
# A clean Debian, booted with its own systemd in namespaces of its own and reached by ssh; for tests
# to source, as root and in a mount namespace of their own: `boot NAME`, then `remote COMMAND`. It ends
# with the test, and leaves nothing behind.

# shellcheck source=tests/shell.sh
. tests/shell.sh

work=$(mktemp -d)
root=$work/root
booted=
ssh=()
# Folders of control groups, where systemd keeps its own: of version 2, or of both.
hierarchies=()
for folder in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  if [ -e "$folder/cgroup.procs" ]; then hierarchies+=("$folder"); fi
done

explain() {
  if [ -s "$work/log" ]; then tail -n 40 "$work/log"; fi
  timeout 5 ssh "${ssh[@]}" journalctl --no-pager --lines=20 --unit=veilleur-agent || true
}

finish() {
  if [ -n "$booted" ]; then
    kill -KILL "$booted" 2>/dev/null || true
    wait "$booted" 2>/dev/null || true
  fi
  for folder in "${hierarchies[@]}"; do
    # The kernel takes a moment until a group is empty.
    for _ in $(seq 50); do
      find "$folder/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [ -e "$folder/$group" ] || break
      sleep 0.1
    done
  done
  rm -rf --one-file-system "$work"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Boots a copy of the clean Debian. With `--unified` its systemd sees control groups of version 2 only,
# with what controllers this machine has there.
boot() {
  local clean unified=${1:-}
  group=veilleur-test-$$
  trap finish EXIT
  clean=$(tests/peers/debian.sh --managed)
  port=$(free_port)
  ssh=(-F none -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=auto -o ControlPersist=60s
    -o "ControlPath=$work/own-%h-%p" -i "$work/key" -p "$port" root@127.0.0.1)
  cp -a "$clean" "$root"
  ssh-keygen -q -t ed25519 -N '' -f "$work/key"
  install -D -m 600 "$work/key.pub" "$root/root/.ssh/authorized_keys"
  printf 'Port %s\nListenAddress 127.0.0.1\nUsePAM no\nUseDNS no\n' "$port" >"$root/etc/ssh/sshd_config.d/test.conf"
  # Nothing of its own accord: neither updates nor the settings of the kernel, which are this machine's.
  rm -f "$root"/etc/systemd/system/timers.target.wants/*
  mkdir -p "$root/etc/systemd/system"
  for unit in systemd-sysctl systemd-binfmt systemd-udevd systemd-modules-load; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
  done
  cat >"$work/boot" <<'BOOT'
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --bind -o ro "$1/proc/sys" "$1/proc/sys"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
if [ -e /sys/fs/cgroup/cgroup.procs ] || [ "$2" = --unified ]; then
  mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$1/sys/fs/cgroup"
  mkdir "$1/sys/fs/cgroup/systemd" "$1/sys/fs/cgroup/unified"
  mount -t cgroup -o none,name=systemd cgroup "$1/sys/fs/cgroup/systemd"
  mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup/unified"
fi
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$1" /lib/systemd/systemd
BOOT
  for folder in "${hierarchies[@]}"; do mkdir "$folder/$group"; done
  (
    for folder in "${hierarchies[@]}"; do echo "$BASHPID" >"$folder/$group/cgroup.procs"; done
    exec unshare --fork --kill-child=KILL --pid --mount --cgroup --uts --ipc --propagation private \
      bash -e "$work/boot" "$root" "$unified"
  ) >"$work/boot.log" 2>&1 </dev/null &
  booted=$!
  await "the host answers" remote true
}

# What is expanded here is meant to be.
# shellcheck disable=SC2029
remote() { ssh "${ssh[@]}" "$@"; }
