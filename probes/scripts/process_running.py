#!/usr/bin/env python3
"""How many processes of a program run."""
import argparse
import math
import os
import pwd
import re
import sys

PROC = "/proc"


# ---- The same in every script: ranges of thresholds, and what a plugin prints. ----
class Range:
    """A range as Nagios writes it: it alerts outside of START:END, and with @ inside."""

    def __init__(self, text):
        self.text = text
        start, _, end = text.lstrip("@").rpartition(":")
        self.inside = text.startswith("@")
        self.start = -math.inf if start == "~" else float(start or 0)
        self.end = float(end) if end else math.inf
        if not self.start <= self.end:
            raise ValueError(text)

    def alerts(self, value):
        return (self.start <= value <= self.end) == self.inside


def judge(value, warning, critical):
    """The code of a value by its two ranges, each of which may be missing."""
    if critical and critical.alerts(value):
        return 2
    return 1 if warning and warning.alerts(value) else 0


def measured(label, value, unit="", warning=None, critical=None, least=""):
    """An entry of performance data."""
    label = "".join(c if c.isprintable() and c not in "|=" else "_" for c in label)
    value = f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
    ranges = ";".join(r.text if r else "" for r in (warning, critical))
    label = label.replace("'", "''")
    return f"'{label}'={value}{unit};{ranges};{least}".rstrip(";")


def shown(text):
    """A text that is fit for one line of output."""
    text = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "?" for c in text).replace("|", "/")


def finish(code, text, perfdata=(), details=()):
    """Prints the result and ends with its code."""
    line = f"{('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[code]}: {shown(text)}"
    line += " | " + " ".join(perfdata) if perfdata else ""
    print("\n".join([line, *map(shown, details)]), flush=True)
    sys.exit(code)


class Arguments(argparse.ArgumentParser):
    """Arguments of which a wrong one makes the result UNKNOWN."""

    def error(self, message):
        finish(3, f"{message}; see --help")

    def exit(self, status=0, message=None):
        sys.exit(3)


def run(main):
    """Runs main; what goes wrong in it makes the result UNKNOWN, not a warning."""
    try:
        main()
    except Exception as error:
        finish(3, f"{type(error).__name__}: {error}")
# ---- The end of what is the same in every script. ----


def read(pid, file):
    with open(os.path.join(PROC, str(pid), file), "rb") as opened:
        return opened.read()


def processes():
    """The number, parent, state, user, pages of memory and words of every process."""
    for entry in os.listdir(PROC):
        if not entry.isdigit():
            continue
        try:
            # The name stands in parentheses and may hold anything.
            name, _, stat = read(entry, "stat").partition(b"(")[2].rpartition(b")")
            stat = stat.split()
            words = read(entry, "cmdline").decode("utf-8", "replace").split("\0")
            user = os.stat(os.path.join(PROC, entry)).st_uid
        except OSError:
            # It has ended meanwhile.
            continue
        name = name.decode("utf-8", "replace")
        yield int(entry), int(stat[1]), stat[0], user, int(stat[21]), name, words


def main():
    arguments = Arguments(
        description="Counts the processes of the program NAME: by the name that the kernel shows, "
        "or the file name of the program. Zombies, this script and whoever started it do not "
        "count.",
    )
    arguments.add_argument("name", metavar="NAME")
    arguments.add_argument("-p", "--pattern", action="store_true",
                           help="NAME is a regular expression for the whole command line")
    arguments.add_argument("-u", "--user", help="only processes of this user")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE", help="of the number")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE", default="1:",
                           help="of the number (1: at least one)")
    options = arguments.parse_args()
    try:
        pattern = re.compile(options.name) if options.pattern else None
        user = pwd.getpwnam(options.user).pw_uid if options.user else None
    except re.error as error:
        finish(3, f"{options.name} is no regular expression: {error}")
    except KeyError:
        finish(3, f"there is no user {options.user}")
    found = list(processes())
    parents = {process[0]: process[1] for process in found}
    ours, pid = set(), os.getpid()
    while pid and pid not in ours:
        ours.add(pid)
        pid = parents.get(pid, 0)
    count, pages = 0, 0
    for pid, _, state, owner, resident, name, words in found:
        if state == b"Z" or pid in ours or user not in (None, owner):
            continue
        if pattern:
            matches = pattern.search(" ".join(words).strip() or name)
        else:
            matches = options.name in (name, os.path.basename(words[0]))
        if matches:
            count += 1
            pages += resident
    entries = [
        measured("processes", count, "", options.warning, options.critical, 0),
        measured("memory", pages * os.sysconf("SC_PAGE_SIZE"), "B", least=0),
    ]
    noun = "process" if count == 1 else "processes"
    code = judge(count, options.warning, options.critical)
    finish(code, f"{count} {noun} of {options.name}", entries)


run(main)
