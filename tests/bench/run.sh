#!/usr/bin/env bash
# What `make bench-peers` does: builds both programs and measures them beside their peers, all of
# them in one run on one machine, by the harness in MEASURE_DIR (by default ../shared/measure beside
# the project).
#
#   tests/bench/run.sh            m1 (scrape of an agent), m2 (looks on request), m3 (script checks),
#                                 m4 (200,000 series scraped, and by remote write), m6 (ten queries over them),
#                                 m7 (alerts in Alertmanager's place), m8 (fault to webhook), and these:
#   tests/bench/run.sh hung       what a receiver that never answers costs the others (F10), beside Alertmanager
#   tests/bench/run.sh idle       an agent with 50 checks a minute that nobody asks, beside node_exporter
#   tests/bench/run.sh floor      script checks beside a bare loop of posix_spawn: as many as go, also from an
#                                 agent of 200 MiB; and half as many as the loop starts
#   tests/bench/run.sh nrpe       round trips of check_nrpe, to us and to NRPE's daemon
#   tests/bench/run.sh growth     ours alone with 20,000, 200,000 and 2,000,000 series: memory and the CPU of a round of scrapes
#   tests/bench/run.sh m1 m8      only these
#
#   tests/bench/run.sh order      measures nothing: writes agent/often.ld, by which the agent is linked, after what an agent runs
#
# RUNS (1) repeats everything. Results are in MEASURE_OUT, by default bench-peers in cargo's folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
project=$PWD

harness=${MEASURE_DIR:-$project/../shared/measure}
if [ ! -f "$harness/lib.py" ]; then
  echo "not measured: the harness is not in $harness; say where it is with MEASURE_DIR"
  exit 0
fi
runs=${RUNS:-1}
# The harness builds its own tools there, too, and finds our programs there.
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
MEASURE_OUT=$(realpath -m "${MEASURE_OUT:-$CARGO_TARGET_DIR/bench-peers}")
MEASURE_WORK=$(realpath -m "${MEASURE_WORK:-$CARGO_TARGET_DIR/bench-work}")
# One folder with the reference programs, for this and for the tests.
PEERS=${PEERS:-$(dirname "$(dirname "$(dirname "$(tests/peers/fetch.sh --where)")")")}
MEASURE_DIR=$(realpath "$harness")
export CARGO_TARGET_DIR MEASURE_OUT MEASURE_WORK MEASURE_DIR PEERS

[ $# -gt 0 ] || set -- m1 m2 m3 m4 m6 m7 m8 hung idle floor nrpe growth
programs=(--bin veilleur-agent)
case " $* " in *" m4 "* | *" m6 "* | *" m7 "* | *" m8 "* | *" hung "* | *" growth "*) programs+=(--bin veilleur) ;; esac
cargo build --locked --quiet --release "${programs[@]}"
VEILLEUR_PEERS=$PEERS tests/peers/fetch.sh

# The schedulers that m3 measures beside ours; they are packages of this machine's own release.
schedulers() {
  # The harness's script fails before it comes to them where no package lies in the folder itself.
  if ! compgen -G "$PEERS/*.deb" >/dev/null; then
    (cd "$PEERS" && apt-get -qq -o "APT::Sandbox::User=$(id -un)" download monitoring-plugins-basic)
  fi
  "$harness/peers.sh" >/dev/null
}

# Debian's Alertmanager reads its templates from where its package would have put them.
alertmanager_templates() {
  local place=/usr/share/prometheus
  [ ! -e "$place" ] || return 0
  ln -s "$PEERS/root$place" "$place" || {
    echo "not measured beside Alertmanager: it needs $place; as root, link it to $PEERS/root$place" >&2
    exit 1
  }
  trap 'rm -f /usr/share/prometheus' EXIT
}

# measure NAME SCRIPT ARGUMENTS -- SUBJECTS OF THE PEERS, as in m1/node_exporter
measure() {
  local name=$1 script=$2 subject arguments=()
  shift 2
  # What the harness has no measure of is one of our own script.
  case $script in
    agent.py) script=$project/tests/bench/agent.py arguments=("$1") && shift ;;
    alerts.py | hung.py) script=$project/tests/bench/$script ;;
    samples.py) script=$project/tests/bench/samples.py arguments=("$1") && shift ;;
    *) script=$harness/$script ;;
  esac
  while [ "$1" != -- ]; do
    arguments+=("$1")
    shift
  done
  shift
  # What is the same for several measures is in the folder of one.
  for subject in "$project/tests/bench/${configured:-$name}"/*.json; do
    arguments+=(--subject "$subject")
  done
  for subject in "$@"; do
    arguments+=(--subject "$harness/subjects/$subject.json")
  done
  rm -f "$MEASURE_OUT/$name"-*.json
  echo "== $name"
  python3 "$script" "${arguments[@]}" --runs "$runs" >/dev/null
  python3 tests/bench/ratios.py "$MEASURE_OUT" "$name"
}

for name in "$@"; do
  case $name in
    m1) measure m1 m1_scrape.py -- m1/node_exporter ;;
    m2) measure m2 m2_probe.py --conns 64 -- m2/blackbox_exporter ;;
    m3)
      schedulers
      measure m3 agent.py checks --seconds 30 -- m3/nagios4 m3/icinga2
      ;;
    m4)
      configured=m4 measure m4scrape samples.py scrape -- m4/prometheus m4/victoriametrics
      configured=m4 measure m4write samples.py write -- m4/prometheus m4/victoriametrics
      ;;
    m6) measure m6 m6_query.py -- m6/prometheus m6/victoriametrics ;;
    growth) configured=m4 measure growth samples.py growth -- ;;
    m7)
      alertmanager_templates
      measure m7 alerts.py -- m7/alertmanager
      ;;
    m8)
      alertmanager_templates
      measure m8 m8_detect.py --faults 12 -- m8/prometheus m8/vmalert-tuned
      ;;
    hung)
      alertmanager_templates
      measure hung hung.py --
      ;;
    order) python3 tests/bench/order.py "$CARGO_TARGET_DIR/release/veilleur-agent" agent/often.ld ;;
    idle) measure idle agent.py idle -- m1/node_exporter ;;
    floor) measure floor agent.py floor -- ;;
    nrpe)
      schedulers
      measure nrpe agent.py nrpe --
      ;;
    *)
      echo "there is no measure $name; there are m1, m2, m3, m4, m6, m7, m8, growth, hung, idle, floor, nrpe and order" >&2
      exit 2
      ;;
  esac
done
