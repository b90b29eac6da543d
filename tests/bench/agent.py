#!/usr/bin/env python3
"""What the harness does not measure of an agent. Uses the harness, whose folder MEASURE_DIR names.

    agent.py checks ARGUMENTS OF m3_checks.py   as m3_checks.py, and of every program its own CPU, without that of what it starts
    agent.py floor --subject FILE               scripts as many as go, also from a large agent, beside a bare loop of posix_spawn; and half as many
    agent.py idle --subject FILE ...            memory and CPU of an agent that has 50 checks a minute and is asked nothing
    agent.py nrpe --subject FILE                round trips of check_nrpe to NRPE's daemon and to us
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.environ["MEASURE_DIR"])
import lib

# The harness's script starts measuring when it is read, by this function.
start, lib.main = lib.main, lambda f: None
import m3_checks

m3_checks_main, m3_checks_one, Window = m3_checks.main, m3_checks.one, lib.Window


def own_cpu(pids):
    """CPU seconds of each process itself, all its threads, without those of children that it has waited for.

    What it takes to start a program is the starter's own as far as the kernel works for the starter: a copy of the page tables by `fork`, a
    wait for `posix_spawn`. From there to its `exec` the child pays, whoever has started it: for page faults and closed descriptors after
    `fork`, for a session and signals after `posix_spawn`. Of the programs that are measured here this favours those that fork."""
    fields = {pid: lib.stat_fields(pid) for pid in pids}
    return {pid: (int(f[11]) + int(f[12])) / lib.TICK for pid, f in fields.items() if f}


class OwnWindow(Window):
    """A window that tells also what the processes took that were there at its beginning and at its end: not the plugins."""

    last = None

    def __init__(self, procs=()):
        super().__init__(procs)
        self.before = own_cpu([pid for p in procs for pid in p.pids()])
        if procs:
            OwnWindow.last = self

    def end(self, count=True):
        after = own_cpu(self.before)
        result = super().end(count)
        self.seconds = result["seconds"]
        self.own = sum(cpu - self.before[pid] for pid, cpu in after.items())
        return result


def one(*arguments):
    row = m3_checks_one(*arguments)
    window = OwnWindow.last
    row["own_cpu_us_per_check"] = window.own * 1e6 / max(1, row["checks_per_s"] * window.seconds)
    return row


def checks():
    lib.Window, m3_checks.one = OwnWindow, one
    m3_checks_main()


# How much a large agent holds, in MiB, and in how many copies, one a check.
BALLAST, FLOOD = 200, 4000


def floor_once(subject, load, a):
    a.checks = a.half if load == "half" else FLOOD // 2
    mib = BALLAST if load == "large" else 0
    subject.var["ballast"] = [{"text": "x" * ((mib << 20) // FLOOD)}] if mib else []
    row = one(subject, "saturate" if load == "half" else "flood", a)
    if row["rss_now_mib"] < mib:
        sys.exit("agent.py: an agent that is to hold %d MiB has %.0f" % (mib, row["rss_now_mib"]))
    return dict(row, load=load)


def floor():
    lib.Window = OwnWindow
    a = lib.parser(__doc__, runs=1, seconds=30, settle=15).parse_args()
    program, bare = [lib.TARGET + "/count_check", lib.WORK + "/bare.rec", "1"], []
    open(program[1], "w").close()
    loops = {"flood": ["--capture"], "large": ["--capture", "--ballast-mb", str(BALLAST)]}
    for _ in range(a.runs):
        for load, how in loops.items():
            bare.append(dict(lib.controlled(m3_checks.spawns, "count_check", 2, how, program), load=load))
    a.half = int(statistics.median(row["per_s"] for row in bare if row["load"] == "flood") / 2)
    for subject in lib.subjects("floor", a.subject):
        rows = [lib.controlled(floor_once, subject, load, a) for _ in range(a.runs) for load in ("flood", "large", "half")]
        lib.save("floor", subject.name, rows)
    lib.save("floor", "bare", bare)


def idle_once(subject, a):
    command = ["/bin/true"]
    subject.var.update(plugin_array=", ".join('"%s"' % word for word in command), interval_s=60,
                       checks=[{"id": n} for n in range(a.checks)])
    subject.start()
    # Every check has run by then, once at least.
    time.sleep(a.settle)
    process = subject.procs[0]
    window = OwnWindow(subject.procs)
    time.sleep(a.seconds)
    end = window.end()
    row = {"rss_mib": process.rss(), "pss_mib": process.pss(), "own_cpu_percent": 100 * window.own / end["seconds"],
           "tree_cpu_percent": 100 * end["cpu"] / end["seconds"], "threads": len(os.listdir("/proc/%d/task" % process.pid))}
    subject.stop()
    return row


def idle():
    a = lib.parser(__doc__, runs=1, seconds=60, settle=65, checks=50).parse_args()
    for subject in lib.subjects("idle", a.subject):
        lib.save("idle", subject.name, [lib.controlled(idle_once, subject, a) for _ in range(a.runs)])


def trips(command, processes, load, threads, a):
    window = lib.Window(processes)
    said = lib.mload("spawn", "--seconds", a.seconds, "--threads", threads, "--capture", "--", *command)
    end = window.end()
    machine = end["machine_busy"] * 1e6 / said["spawns"]
    return {"load": "%s, %d at a time" % (load, threads), "per_s": said["per_second"], "p50_ms": said["p50_us"] / 1e3,
            "p99_ms": said["p99_us"] / 1e3, "nonzero": said["nonzero"], "client_cpu_us": said["cpu_us_per_spawn"],
            "machine_cpu_us": machine, "answering_cpu_us": machine - said["cpu_us_per_spawn"]}


def check_nrpe(port, flags):
    plugin = lib.PEERS + "/bookworm/usr/lib/nagios/plugins/check_nrpe"
    command = [plugin, "-H", "127.0.0.1", "-p", str(port), "-c", "dummy", "-t", "30"] + flags
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit("agent.py: %s: %s%s" % (" ".join(command), said.stdout, said.stderr))
    return command


def ours(subject, load, flags, threads, a):
    subject.var["tls"] = [{}] if load == "tls" else []
    subject.start()
    lib.wait_port(subject.ports["nrpe"])
    return trips(check_nrpe(subject.ports["nrpe"], flags), subject.procs, load, threads, a)


NRPE = """pid_file={d}/nrpe.pid
server_port={port}
server_address=127.0.0.1
nrpe_user=nobody
nrpe_group=nogroup
allowed_hosts=127.0.0.1
dont_blame_nrpe=0
disable_syslog=1
log_file={d}/nrpe.log
command[dummy]={d}/check_dummy 0 ok
"""


def theirs(load, flags, threads, a):
    b, port = lib.PEERS + "/bookworm", lib.Ports()["nrpe"]
    # It refuses to run as root, and nobody else need be able to read the folders of the peers.
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o777)
        shutil.copy(b + "/usr/lib/nagios/plugins/check_dummy", d)
        with open(d + "/nrpe.cfg", "w") as file:
            file.write(NRPE.format(d=d, port=port))
        env = {"LD_LIBRARY_PATH": b + "/usr/lib/x86_64-linux-gnu"}
        daemon = lib.Proc("nrpe", [b + "/usr/sbin/nrpe", "-f", "-c", d + "/nrpe.cfg"] + flags, env, d)
        lib.wait_port(port)
        try:
            return trips(check_nrpe(port, flags), [daemon], load, threads, a)
        finally:
            daemon.stop()


def nrpe():
    a = lib.parser(__doc__, runs=1, seconds=8).parse_args()
    plan = [(load, flags, threads) for load, flags in (("tls", []), ("plain", ["-n"])) for threads in (1, 4)]
    # What NRPE starts and does not wait for counts as foreign: hence no limit to that.
    subject, rows = lib.subjects("nrpe", a.subject)[0], {"ours": [], "theirs": []}
    for _ in range(a.runs):
        for load in plan:
            rows["ours"].append(lib.controlled(ours, subject, *load, a, limit=9))
            rows["theirs"].append(lib.controlled(theirs, *load, a, limit=9))
    lib.save("nrpe", subject.name, rows["ours"])
    lib.save("nrpe", "nrpe", rows["theirs"])


WHAT = {"checks": checks, "floor": floor, "idle": idle, "nrpe": nrpe}
start(WHAT[sys.argv.pop(1)])
