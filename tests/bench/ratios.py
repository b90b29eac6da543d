#!/usr/bin/env python3
"""Prints what the harness has measured: a table for each load, and how much of a peer's figure ours is.

    ratios.py FOLDER MEASURE

A figure is the median of its runs. Behind a peer's figure stands ours divided by it, ours being the first of our programs.
"""
import glob
import json
import os
import re
import statistics
import sys

# Figures worth a line, by measure, in this order.
FIGURES = {
    "m1": ["series", "bytes", "c1_p50_ms", "c1_p99_ms", "c8_p50_ms", "c1_cpu_ms", "gzip_c1_p50_ms", "gzip_c1_cpu_ms",
           "rss_idle_mib", "rss_end_mib", "ready_s"],
    "m2": ["probes_per_s", "cpu_us_per_probe", "c1_p50_ms", "p50_ms", "p99_ms", "rss_idle_mib", "rss_steady_mib", "rss_peak_mib"],
    "m3": ["checks_per_s", "wanted_per_s", "cpu_us_per_check", "machine_cpu_us_per_check",
           "own_cpu_us_per_check", "added_cpu_us_per_check", "late_p50_s", "late_p99_s",
           "slot_max_over_mean", "pss_now_mib"],
    "m4scrape": ["samples_per_s", "cpu_s_per_million", "rss_steady_mib", "rss_hwm_mib", "disk_bytes_per_sample_running",
                 "disk_bytes_per_sample_compacted", "series_seen"],
    "m4write": ["samples_per_s", "cpu_s_per_million", "request_p50_ms", "request_p99_ms", "rss_peak_mib", "rss_steady_mib",
                "disk_bytes_per_sample_running", "disk_bytes_per_sample_compacted", "stored_fraction"],
    "m6": ["instant_ms", "instant_cpu_ms", "range_ms", "range_cpu_ms", "repeated_ms", "results", "rss_after_fill_mib", "rss_peak_mib"],
    "growth": ["series", "rss_mib", "bytes_per_series", "round_cpu_ms", "cpu_s_per_million", "longest_scrape_ms", "failed_scrapes"],
    "m7": ["post_alerts_per_s", "post_cpu_us_per_alert", "post_p99_ms", "cpu_us_per_alert_in_all", "all_notified_s", "webhooks",
           "again_cpu_us_per_alert", "idle_cores_with_alerts", "groups_p50_ms", "groups_cpu_ms", "alerts_p50_ms", "reload_ms",
           "regrouped_ms", "rss_idle_mib", "rss_peak_mib", "rss_end_mib", "p50_ms", "p90_ms", "p99_ms", "max_ms", "cpu_us_per_alert",
           "post_per_s", "post_cpu_us", "list_p50_ms", "silences_after_kill", "alerts_after_term", "alerts_after_kill",
           "alerts_after_kill_10000", "alerts_after_kill_50000", "ready_after_kill_50000_ms",
           "reload_rerouted_ms_10000", "reload_rerouted_ms_50000", "regrouped_rerouted_ms_50000"],
    "floor": ["checks_per_s", "wanted_per_s", "own_cpu_us_per_check", "added_cpu_us_per_check", "cpu_us_per_check", "late_p50_s", "late_p99_s", "rss_now_mib"],
    "m8": ["fault_to_hook_s_p50", "fault_to_hook_s_p90", "fault_to_hook_s_max", "first_bad_to_hook_s_p50", "recover_to_hook_s_p50", "missed", "cores"],
    "hung": ["answers_p50_ms", "answers_p99_ms", "hangs_p50_ms", "hangs_p99_ms", "p99_hangs_over_answers", "arrived", "connections_that_hang"],
    "idle": ["rss_mib", "pss_mib", "own_cpu_percent", "tree_cpu_percent", "threads"],
    "nrpe": ["per_s", "p50_ms", "p99_ms", "client_cpu_us", "answering_cpu_us", "machine_cpu_us", "nonzero"],
}


# What we want, by measure: the load ("*" is each), the figure, and what it is to be; "of best" is beside the peer that needs least.
WANTED = {
    "m1": [("*", "c1_cpu_ms", "<= 0.25 of best"), ("*", "c1_p99_ms", "<= 0.25 of best"), ("*", "rss_end_mib", "<= 0.33 of best")],
    "m2": [("*", "cpu_us_per_probe", "<= 0.2 of blackbox_exporter"), ("*", "rss_steady_mib", "<= 0.33 of blackbox_exporter")],
    "m3": [("saturate", "own_cpu_us_per_check", "<= 0.2 of icinga2"), ("saturate", "own_cpu_us_per_check", "<= 0.2 of nagios4")],
    "floor": [("flood", "checks_per_s", ">= 0.9 of bare"), ("large", "checks_per_s", ">= 0.9 of bare"), ("half", "late_p99_s", "<= 0.05")],
    "idle": [("*", "rss_mib", "<= 9.53"), ("*", "own_cpu_percent", "<= 0.3")],
    "nrpe": [("tls, 1 at a time", "p50_ms", "<= 0.33 of best"), ("tls, 1 at a time", "answering_cpu_us", "<= 0.33 of best")],
    "m4scrape": [("*", "cpu_s_per_million", "<= 0.25 of prometheus"), ("*", "rss_steady_mib", "<= 1 of best"),
                 ("*", "disk_bytes_per_sample_compacted", "<= 0.67 of best")],
    "m4write": [("*", "cpu_s_per_million", "<= 1 of victoriametrics"), ("*", "rss_peak_mib", "<= 1 of best")],
    "m6": [("*", "instant_ms", "<= 0.33 of best"), ("*", "range_ms", "<= 0.33 of best")],
    "hung": [("*", "p99_hangs_over_answers", "<= 1.2")],
    "m8": [("*", "fault_to_hook_s_p50", "<= 1 of best"), ("*", "fault_to_hook_s_p90", "<= 1 of best")],
    "m7": [
        ("10000 alerts", "post_cpu_us_per_alert", "<= 0.25 of best"),
        ("10000 alerts", "cpu_us_per_alert_in_all", "<= 0.25 of best"),
        ("10000 alerts", "rss_peak_mib", "<= 0.25 of best"),
        ("50000 alerts", "post_cpu_us_per_alert", "<= 0.25 of best"),
        ("50000 alerts", "cpu_us_per_alert_in_all", "<= 0.25 of best"),
        ("50000 alerts", "rss_peak_mib", "<= 0.25 of best"),
        ("10000 alerts", "groups_p50_ms", "<= 0.2 of best"),
        ("10000 alerts", "groups_cpu_ms", "<= 0.2 of best"),
        ("one alert, 0 others active", "p50_ms", "<= 5"),
        ("one alert, 0 others active", "p99_ms", "<= 15"),
        ("one alert, 10000 others active", "p50_ms", "<= 5"),
        ("one alert, 10000 others active", "p99_ms", "<= 15"),
        ("50000 alerts", "idle_cores_with_alerts", "<= 0.03"),
        ("50000 alerts", "reload_ms", "<= 100"),
        ("silences", "reload_rerouted_ms_50000", "<= 100"),
    ],
}


def ours(subject):
    return subject.startswith("veilleur")


def median(rows, figure):
    values = [row[figure] for row in rows if row.get(figure) is not None]
    return statistics.median(values) if values else None


def number(value):
    if value is None:
        return "-"
    return "%.0f" % value if abs(value) >= 100 else "%.3g" % value


def table(figures, subjects):
    """subjects: {name: rows}, ours first."""
    names = sorted(subjects, key=lambda name: (not ours(name), name))
    lines = [[""] + names]
    for figure in figures:
        values = {name: median(subjects[name], figure) for name in names}
        if all(value is None for value in values.values()):
            continue
        line = [figure]
        first = values[names[0]] if ours(names[0]) else None
        for name in names:
            text = number(values[name])
            if not ours(name) and first is not None and values[name]:
                text += " (%.2f)" % (first / values[name])
            line.append(text)
        lines.append(line)
    print_aligned(lines)


def wanted(rows, by_load):
    """Prints what is wanted beside what was measured."""
    lines = [["wanted", "", "", "ours", "theirs", "ratio", ""]]
    for wanted_load, figure, limit in rows:
        sign, bound, peer = re.fullmatch(r"([<>]=) ([\d.]+)(?: of (\S+))?", limit).groups()
        for load, subjects in by_load.items():
            own = next((median(subjects[name], figure) for name in sorted(subjects) if ours(name)), None)
            if own is None or wanted_load not in ("*", load):
                continue
            theirs = [median(subjects[name], figure) for name in subjects if not ours(name) and peer in ("best", name)]
            theirs = min((value for value in theirs if value is not None), default=None)
            ratio = own / theirs if theirs else None
            judged = ratio if peer else own
            kept = judged is not None and (judged <= float(bound) if sign == "<=" else judged >= float(bound))
            verdict = "-" if judged is None else "met" if kept else "MISSED"
            lines.append([load, figure, limit, number(own), number(theirs), number(ratio), verdict])
    if len(lines) > 1:
        print_aligned(lines)


def print_aligned(lines):
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def parts(row):
    """The rows of a run: one for each query, where it is one of queries."""
    if "queries" not in row:
        return [row]
    about = {key: value for key, value in row.items() if key != "queries"}
    rows = [dict(about, load="all")]
    for name, query in row["queries"].items():
        rows.append({"load": name, "instant_ms": query["instant"]["ms"][0], "instant_cpu_ms": query["instant"]["cpu_ms"],
                     "range_ms": query["range"]["ms"][0], "range_cpu_ms": query["range"]["cpu_ms"],
                     "repeated_ms": query["cached"]["ms"][0], "results": query["range"]["result"]})
    return rows


def main():
    folder, measure = sys.argv[1:]
    by_load, machine = {}, ""
    for path in sorted(glob.glob(os.path.join(folder, measure + "-*.json"))):
        with open(path) as file:
            result = json.load(file)
        machine = "%s, %s" % (result["date"], result["machine"])
        for row in [part for row in result["rows"] for part in parts(row)]:
            # m8 has each of its faults besides.
            times = sorted(fault["fault_to_hook_s"] for fault in row.get("faults", []) if fault["fault_to_hook_s"] is not None)
            if times:
                row["fault_to_hook_s_p90"] = times[min(len(times) - 1, int(0.9 * len(times)))]
            # A loop that only starts the same program, two at a time, and reads what it prints.
            if result["subject"] == "bare":
                row.update(checks_per_s=row["per_s"], own_cpu_us_per_check=row["parent_cpu_us"], cpu_us_per_check=row["cpu_us"])
            # m2 has no loads but ways to look, m7 parts with numbers of alerts.
            load = row.get("load") or row.get("module", "")
            if "part" in row:
                number_of = {"load": "%s alerts", "single": "one alert, %s others active"}.get(row["part"], row["part"])
                load = number_of % row.get("count", row.get("active")) if "%" in number_of else number_of
            by_load.setdefault(load, {}).setdefault(result["subject"], []).append(row)
        if result.get("binary_bytes"):
            print("binary of %s: %.1f MB" % (result["subject"], result["binary_bytes"] / 1e6))
    if not by_load:
        sys.exit("ratios.py: there is no result of %s in %s" % (measure, folder))
    print(re.sub(r"\s+", " ", machine))
    for load, subjects in by_load.items():
        if load:
            print("load: " + load)
        table(FIGURES[measure], subjects)
    wanted(WANTED.get(measure, []), by_load)


main()
