#!/usr/bin/env python3
"""The harness's measures of samples, with what they leave out for us.

    samples.py scrape|write ARGUMENTS    m4_ingest.py; our samples are counted on the disk after they have become blocks, too
    samples.py growth ARGUMENTS          the same targets with 20,000 to 2,000,000 series: memory, and what a round of scrapes takes

Uses the harness, whose folder MEASURE_DIR names; other arguments as m4_ingest.py.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.environ["MEASURE_DIR"])
import lib
import tsdb

# The harness's script starts measuring when it is read, by this function.
start, lib.main = lib.main, lambda f: None
import m4_ingest

compact = tsdb.compact


def compacted(subject):
    """Ends ours and imports one sample of four hours later, whereupon everything before it becomes blocks."""
    command = subject.d.get("import")
    if not command:
        return compact(subject)
    for process in subject.procs:
        process.stop()
    later = os.path.join(subject.dir, "later.om")
    with open(later, "w") as file:
        file.write("# TYPE later gauge\nlater 1 %d\n# EOF\n" % (time.time() + 4 * 3600))
    subject.var["later"] = later
    subprocess.run([subject.x(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return lib.du(subject.get("compact_data"))[1]


tsdb.compact = compacted


def growth(subject, a, series):
    """Rounds of scrapes of so many series in all."""
    targets, port = lib.server("targets", targets=a.targets, series=series // a.targets)
    tsdb.variables(subject, port, a.targets, a.interval)
    subject.start()
    time.sleep(1.5 * a.interval)
    window, before = lib.Window(subject.procs), tsdb.tstats(port)["scrapes"]
    time.sleep(a.rounds * a.interval)
    used, scrapes = window.end(), tsdb.tstats(port)["scrapes"] - before
    rss = sum(process.rss() for process in subject.procs)
    longest = tsdb.scalar(subject, "max(max_over_time(scrape_duration_seconds[%ds]))" % (a.rounds * a.interval))
    failed = tsdb.scalar(subject, "sum(count_over_time(up[1h]) - sum_over_time(up[1h]))")
    row = {"load": "%d series" % series, "series": tsdb.scalar(subject, 'count({__name__=~"http.+|node.+|queue.+|app.+"})'),
           "rss_mib": rss, "bytes_per_series": rss * 2**20 / series,
           "round_cpu_ms": used["cpu"] * 1e3 * a.targets / max(1, scrapes),
           "cpu_s_per_million": used["cpu"] * 1e6 / max(1, scrapes * (series // a.targets)),
           "longest_scrape_ms": longest * 1e3, "failed_scrapes": failed}
    subject.stop()
    targets.stop()
    return row


def main():
    parser = lib.parser(__doc__, runs=1, targets=200, interval=15, rounds=4, sizes="20000,200000,2000000")
    a = parser.parse_args()
    for subject in lib.subjects("m4", a.subject):
        rows = []
        for size in a.sizes.split(","):
            rows.append(lib.controlled(growth, subject, a, int(size), tries=2))
            lib.log(subject.name, {key: value for key, value in rows[-1].items()})
        lib.save("growth", subject.name, rows, commands=subject.cmdlines(), parameters=vars(a))


part = sys.argv.pop(1)
if part == "growth":
    start(main)
else:
    sys.argv[1:1] = ["--mode", part]
    start(m4_ingest.main)
