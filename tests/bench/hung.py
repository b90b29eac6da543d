#!/usr/bin/env python3
"""What a receiver that hangs costs the others (F10): two receivers hear of every alert; from POST to the webhook of the second, while
the first answers at once, and while it takes connections and never answers. Alerts come by 50, each a group of its own.
Uses the harness, whose folder MEASURE_DIR names; arguments as m7_alerts.py. Subject files get sink_url and other_url.
"""
import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.environ["MEASURE_DIR"])
import lib

# The harness's script starts measuring when it is read, by this function.
start, lib.main = lib.main, lambda f: None
import m7_alerts

ROUNDS = 40
GROUPS = 50


class Silent:
    """Takes every connection, reads what comes, and says nothing."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.taken = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return

    def stop(self):
        for taken in self.taken + [self.listener]:
            taken.close()


def latencies(subject, other_url):
    """From POST to the webhook of the receiver that answers, in ms."""
    sink, port = lib.server("sink", extract="mid")
    subject.var.update(sink_url="http://127.0.0.1:%d/" % port, other_url=other_url)
    subject.start()
    time.sleep(1)
    window = lib.Window(subject.procs)
    sent = {}
    for turn in range(ROUNDS):
        names = ["s%d" % (turn * GROUPS + n) for n in range(GROUPS)]
        alerts = [m7_alerts.alert(10**6 + turn * GROUPS + n, mid=mid) for n, mid in enumerate(names)]
        body = json.dumps(alerts).encode()
        began = time.time_ns()
        lib.http_get(subject.get("api") + "/alerts", data=body, headers={"Content-Type": "application/json"})
        sent.update(dict.fromkeys(names, began))
        m7_alerts.wait_ids(port, len(sent), limit=20)
        time.sleep(0.2)
    window.end()
    got = {}
    for line in lib.http_get("http://127.0.0.1:%d/ids" % port).decode().split("\n"):
        parts = line.split(" ")
        if len(parts) == 3 and parts[1] == "firing":
            got[parts[2]] = int(parts[0])
    subject.stop()
    sink.stop()
    return [(got[name] - sent[name]) / 1e6 for name in sent if name in got], len(sent)


def hung(subject, _arguments):
    other, port = lib.server("sink", extract="mid")
    answered, _ = latencies(subject, "http://127.0.0.1:%d/" % port)
    other.stop()
    silent = Silent()
    waiting, sent = latencies(subject, "http://127.0.0.1:%d/" % silent.port)
    held = len(silent.taken)
    silent.stop()
    row = {"sent": sent, "arrived": len(waiting), "connections_that_hang": held}
    for name, values in (("answers", answered), ("hangs", waiting)):
        row.update({"%s_p50_ms" % name: lib.pct(values, .5), "%s_p99_ms" % name: lib.pct(values, .99)})
    row["p99_hangs_over_answers"] = row["hangs_p99_ms"] / row["answers_p99_ms"]
    return row


def main():
    arguments = lib.parser(__doc__, runs=1).parse_args()
    for subject in lib.subjects("hung", arguments.subject):
        rows = [lib.controlled(hung, subject, arguments, tries=2, limit=0.4) for _ in range(arguments.runs)]
        lib.save("hung", subject.name, rows, commands=subject.cmdlines())
        lib.show("hung " + subject.name, rows)


start(main)
