#!/usr/bin/env bash
# What `make run` does: builds both programs, starts them with the configurations that are built in,
# and stops them on Ctrl-C. Everything they write is in `veilleur-data` below the working directory.
set -euo pipefail
cd "$(dirname "$0")/.."

data=veilleur-data
programs=${CARGO_TARGET_DIR:-target}/debug
agent='' evaluator=''

stop() {
  trap '' INT TERM
  local pid
  for pid in $evaluator $agent; do
    kill -TERM "$pid" 2>/dev/null || true
  done
  for pid in $evaluator $agent; do
    wait "$pid" 2>/dev/null || true
  done
}
trap 'stop; echo; echo "Both have stopped."; exit 0' INT TERM

# Waits until PORT of 127.0.0.1 answers; where PID ends before, shows the last it said in LOG.
await() {
  local pid=$1 port=$2 log=$3
  until (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    if ! kill -0 "$pid" 2>/dev/null; then
      tail -n 3 "$log" >&2
      stop
      exit 1
    fi
    sleep 0.1
  done
}

# Told before the build, which takes minutes.
for port in 12911 12912; do
  if (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "Port $port of this host is in use; end what uses it first (\`ss -ltnp\` names it)." >&2
    exit 1
  fi
done

echo 'Building (the first time takes a few minutes) ...'
cargo build --locked --package agent --package alertmanager --bins

mkdir -p "$data"
# Sessions of their own: Ctrl-C reaches this script alone, which stops them in order.
setsid "$programs/veilleur-agent" --demo "$data/demo" 2> "$data/agent.log" &
agent=$!
await "$agent" 12911 "$data/agent.log"
setsid "$programs/veilleur" --data "$data/evaluator" 2> "$data/evaluator.log" &
evaluator=$!
await "$evaluator" 12912 "$data/evaluator.log"

cat <<TEXT

Veilleur watches this host. Look at
  http://127.0.0.1:12912/         alerts, checks, targets
  http://127.0.0.1:12911/health   the agent's own view of its checks

Break a check, from another terminal in this folder:
  touch $data/demo/queue/order-{1..20}
Within 30 seconds the alert is printed below. Mend it, and its end is printed, too:
  rm $data/demo/queue/*

Logs are in $data/agent.log and $data/evaluator.log. Ctrl-C stops both programs.

TEXT
wait -n || true
echo 'A program has ended by itself; its log says why:' >&2
tail -n 2 "$data/agent.log" "$data/evaluator.log" >&2
stop
exit 1
