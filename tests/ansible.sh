#!/usr/bin/env bash
# The Ansible role against a host: a clean Debian, booted with its own systemd in namespaces of its
# own and reached by ssh. Installed, again without a change, configured, upgraded, stopped by a
# configuration that is wrong, removed, purged; the same with a bare program. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --inside ]; then
  # Mounts of our own, which go with us.
  exec unshare --mount --propagation private "$0" --inside
fi

# shellcheck source=tests/booted.sh
. tests/booted.sh
program=$(realpath "${CARGO_TARGET_DIR:-target}/debug/veilleur-agent")

# Beside what follows, as it takes a while.
lint=
if command -v ansible-lint >/dev/null; then
  (cd agent/deploy/ansible && exec ansible-lint --offline --nocolor -q rollout.yml remove.yml) >"$work/lint" 2>&1 &
  lint=$!
fi

listen=127.0.0.1:$(free_port)
other=127.0.0.1:$(free_port)

echo "a host boots"
boot ""

cat >"$work/ansible.cfg" <<CFG
[defaults]
host_key_checking = False
retry_files_enabled = False
gathering = explicit
interpreter_python = /usr/bin/python3
roles_path = $PWD/agent/deploy/ansible/roles
local_tmp = $work/ansible
nocows = True
[ssh_connection]
pipelining = True
ssh_args = -F none -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=$work/%h-%p -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
CFG
export ANSIBLE_CONFIG=$work/ansible.cfg ANSIBLE_NOCOLOR=1
cat >"$work/hosts" <<HOSTS
host ansible_host=127.0.0.1 ansible_port=$port ansible_user=root ansible_ssh_private_key_file=$work/key
HOSTS
# Runs a playbook; what it printed is in $work/log.
play() {
  local book=$1
  shift
  ansible-playbook -i "$work/hosts" "agent/deploy/ansible/$book" -e "@$work/vars.yml" "$@" >"$work/log" 2>&1
}
ok() { play "$@" || fail "it failed: $*"; }
changed() { sed -n 's/^host .* changed=\([0-9]*\) .*/\1/p' "$work/log"; }
unchanged() {
  ok "$@"
  [ "$(changed)" = 0 ] || fail "a second run changes something: $*"
}
pid() { remote systemctl show --property MainPID --value veilleur-agent; }
shown() { curl -fsS -m 5 "http://$listen/metrics" | grep -q "^veilleur_check_status{check=\"$1\"}"; }

vars() {
  cat >"$work/vars.yml" <<VARS
veilleur_agent_$1: $2
veilleur_agent_ready_timeout: 30
veilleur_agent_config:
  listen: $listen
  checks:
    - name: $3
      interval: 1s
      probe: {script: {command: [/bin/true]}}
VARS
}

first=$(agent/deploy/debian/build.sh "$program" "$work/first")
second=$(agent/deploy/debian/build.sh "$program" "$work/second" 2)

echo "installed from a package, which another run leaves as it is"
vars package "$first" one
ok rollout.yml --check --diff
! remote test -e /usr/bin/veilleur-agent || fail "--check has installed it"
ok rollout.yml
[ "$(remote systemctl is-active veilleur-agent)" = active ] || fail "it does not run"
[ "$(remote systemctl is-enabled veilleur-agent)" = enabled ] || fail "it does not start with the host"
await "the check is shown" shown one
unchanged rollout.yml

echo "another configuration is shown, checked, and taken up without a restart"
before=$(pid)
vars package "$first" two
ok rollout.yml --check --diff
grep -q '^+.*two' "$work/log" || fail "--diff does not show what would change"
remote grep -q one /etc/veilleur/agent.yml || fail "--check has changed the file"
ok rollout.yml
await "the new check is shown" shown two
[ "$(pid)" = "$before" ] || fail "it was restarted"

echo "one that is wrong changes nothing, and ends the rollout at its first host"
{ cat "$work/hosts"; sed 's/^host /later /' "$work/hosts"; } >"$work/both"
sed -i 's/interval: 1s/interval: soon/' "$work/vars.yml"
! ansible-playbook -i "$work/both" agent/deploy/ansible/rollout.yml -e "@$work/vars.yml" >"$work/log" 2>&1 \
  || fail "a wrong configuration was taken"
grep -q 'soon' "$work/log" || fail "it is not said what is wrong"
! grep -q '^ok: \[later\]\|^changed: \[later\]' "$work/log" || fail "the next stage was begun"
remote grep -q two /etc/veilleur/agent.yml || fail "the file of before is gone"
remote test ! -e /etc/veilleur/.agent.yml.new || fail "the wrong file is left behind"
[ "$(pid)" = "$before" ] || fail "it was restarted"

echo "another port needs a restart, and gets it"
listen=$other
vars package "$first" two
ok rollout.yml
[ "$(pid)" != "$before" ] || fail "it was not restarted"
await "it is at the new port" shown two

echo "upgraded"
before=$(pid)
vars package "$second" two
ok rollout.yml
[ "$(pid)" != "$before" ] || fail "it was not restarted"
remote dpkg-query -W veilleur-agent | grep -q -- '-2$' || fail "it is the version of before"
await "it shows the check as before" shown two
unchanged rollout.yml

echo "removed and purged: nothing stays"
ok remove.yml
remote test ! -e /usr/bin/veilleur-agent || fail "the program is there"
remote test -e /etc/veilleur/agent.yml || fail "the configuration is gone"
unchanged remove.yml
ok remove.yml -e veilleur_agent_purge=true
gone() {
  for left in /etc/veilleur /var/lib/veilleur-agent /var/cache/veilleur-agent /usr/local/bin/veilleur-agent \
    /etc/systemd/system/veilleur-agent.service; do
    remote test ! -e "$left" || fail "$left is still there"
  done
  ! remote getent passwd veilleur-agent >/dev/null || fail "the user is still there"
}
gone

echo "installed as a bare program"
strip --strip-unneeded -o "$work/program" "$program"
vars binary "$work/program" three
ok rollout.yml --check --diff
ok rollout.yml
await "the check is shown" shown three
[ "$(remote systemctl is-enabled veilleur-agent)" = enabled ] || fail "it does not start with the host"
unchanged rollout.yml
before=$(pid)
printf '#!/bin/false\n' >"$work/broken"
! play rollout.yml -e "veilleur_agent_binary=$work/broken" || fail "a program that cannot run was taken"
[ "$(pid)" = "$before" ] || fail "it was restarted"
printf 'another' >>"$work/program"
ok rollout.yml
[ "$(pid)" != "$before" ] || fail "another program was not started"
ok remove.yml -e veilleur_agent_purge=true
gone
! remote journalctl --no-pager -u veilleur-agent | grep -i 'panic' || fail "it panicked"
if [ -n "$lint" ]; then
  echo "the role is as it is usual"
  wait "$lint" || { cat "$work/lint" >&2; fail "ansible-lint complains"; }
fi
