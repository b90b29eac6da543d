#!/usr/bin/env python3
"""The harness's measure of alert managers, m7_alerts.py, and what it leaves out: how many of the alerts that were taken are there after
SIGKILL, and how long a reload takes that brings another route. Uses the harness, whose folder MEASURE_DIR names; arguments as m7_alerts.py.
"""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.environ["MEASURE_DIR"])
import lib

# The harness's script starts measuring when it is read, by this function.
start, lib.main = lib.main, lambda f: None
import m7_alerts

silences = m7_alerts.silences


def kept(subject, count, a):
    """SIGKILL at once after the last answer, another start, and what is there then."""
    sink, port = lib.server("sink", extract="mid")
    subject.var["sink_url"] = "http://127.0.0.1:%d/" % port
    bodies = lib.WORK + "/alerts.%d" % count
    m7_alerts.bodies(count, bodies)
    subject.start()
    lib.mload("replay", "--url", subject.get("api") + "/alerts", "--bodies", bodies, "--conns", a.conns)
    subject.procs[0].stop(signal.SIGKILL)
    began = time.time()
    subject.start(clean=False)
    ready = (time.time() - began) * 1e3
    there = len(json.loads(lib.http_get(subject.get("api") + "/alerts")))
    subject.stop()
    sink.stop()
    return {"alerts_after_kill_%d" % count: there, "ready_after_kill_%d_ms" % count: ready}


def rerouted(subject, count, a):
    """Reloads with one route more, then one less, while many alerts fire: until it is answered, and until all are grouped again."""
    sink, port = lib.server("sink", extract="mid")
    subject.var["sink_url"] = "http://127.0.0.1:%d/" % port
    bodies = lib.WORK + "/alerts.%d" % count
    m7_alerts.bodies(count, bodies)
    subject.start()
    lib.mload("replay", "--url", subject.get("api") + "/alerts", "--bodies", bodies, "--conns", a.conns)
    m7_alerts.wait_ids(port, count)
    path = os.path.join(subject.dir, next(iter(subject.d["files"])))
    with open(path) as file:
        plain = file.read()
    answered, grouped = [], []
    for turn in range(4):
        time.sleep(2)
        with open(path, "w") as file:
            file.write(plain if turn % 2 else plain.replace("  routes:\n", "  routes:\n  - matchers: [cluster=c9]\n", 1))
        began = time.time()
        lib.http_get(subject.x(subject.d["reload"][1]), method=subject.d["reload"][0], data=b"")
        answered.append((time.time() - began) * 1e3)
        while time.time() - began < 20:
            groups = json.loads(lib.http_get(subject.get("api") + "/alerts/groups"))
            if sum(len(group["alerts"]) for group in groups) >= count:
                break
        grouped.append((time.time() - began) * 1e3)
    subject.stop()
    sink.stop()
    return {"reload_rerouted_ms_%d" % count: lib.mmm(answered)[0], "regrouped_rerouted_ms_%d" % count: lib.mmm(grouped)[0]}


def silences_and_kept(subject, a):
    row = silences(subject, a)
    for count in a.counts.split(","):
        row.update(kept(subject, int(count), a))
        row.update(rerouted(subject, int(count), a))
    return row


m7_alerts.silences = silences_and_kept
start(m7_alerts.main)
