#!/usr/bin/env python3
"""What the harness does not measure of an agent. Uses the harness, whose folder MEASURE_DIR names.

    agent.py checks ARGUMENTS OF m3_checks.py   as m3_checks.py, and of every program its own CPU, and what it adds to that of the plugin
    agent.py floor --subject FILE               scripts as many as go, also from a large agent, beside a bare loop of posix_spawn; and half as many
    agent.py idle --subject FILE ...            memory and CPU of an agent that has 50 checks a minute and is asked nothing
    agent.py nrpe --subject FILE                round trips of check_nrpe to NRPE's daemon and to us
"""
import argparse
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

    This favours those that fork: of what a start takes, the copy of the page tables is the starter's own, but what follows from the copy, page
    faults until the `exec` and an end of the copy there, the kernel counts as the child's, as if the plugin had wanted it. Nagios's children
    take half as much again as the same program does when it is started without a copy. Hence also `added_cpu`."""
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


def bare(how):
    """A loop that only starts the program that counts itself, two at a time, and reads what it prints."""
    command = [lib.TARGET + "/count_check", lib.WORK + "/bare.rec", "1"]
    open(command[1], "w").close()
    return lib.controlled(m3_checks.spawns, "count_check", 2, ["--capture"] + how, command)


def programs_own(loop):
    """CPU in us of the program itself."""
    return loop["cpu_us"] - loop["parent_cpu_us"]


def one(subject, load, a):
    row = m3_checks_one(subject, load, a)
    window = OwnWindow.last
    row["own_cpu_us_per_check"] = window.own * 1e6 / max(1, row["checks_per_s"] * window.seconds)
    # Of another program than the one that is started here it cannot be told.
    if load != "dummy":
        row["added_cpu_us_per_check"] = row["cpu_us_per_check"] - a.program_us
    return row


def checks():
    # What a check costs beyond what its program takes in a bare loop: all that it costs to have it as a check.
    program_us = programs_own(bare([]))
    lib.Window = OwnWindow
    m3_checks.one = lambda subject, load, a: one(subject, load, argparse.Namespace(program_us=program_us, **vars(a)))
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
    loops = {"flood": [], "large": ["--ballast-mb", str(BALLAST)]}
    loop = [dict(bare(how), load=load) for _ in range(a.runs) for load, how in loops.items()]
    a.program_us = statistics.median(programs_own(row) for row in loop if row["load"] == "flood")
    a.half = int(statistics.median(row["per_s"] for row in loop if row["load"] == "flood") / 2)
    for subject in lib.subjects("floor", a.subject):
        rows = [lib.controlled(floor_once, subject, load, a) for _ in range(a.runs) for load in ("flood", "large", "half")]
        lib.save("floor", subject.name, rows)
    lib.save("floor", "bare", loop)


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
