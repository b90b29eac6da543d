#!/usr/bin/env python3
"""New lines of a log that match a pattern, since the last run."""
import argparse
import collections
import json
import math
import os
import re
import sys

MOST_BYTES = 64 << 20
MOST_DETAILS = 5
HEAD_BYTES = 256


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


def read_state(path):
    """Of which file how much was read, and how that file begins; None before the first run."""
    try:
        with open(path, encoding="ascii") as file:
            state = json.load(file)
        return int(state["inode"]), int(state["offset"]), bytes.fromhex(state["head"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        finish(3, f"{path} is not the state of this script; remove it to begin anew")


def write_state(path, log, offset):
    """Replaces the state as a whole, so that a crash leaves the old one."""
    with open(log, "rb") as file:
        inode = os.fstat(file.fileno()).st_ino
        head = file.read(min(offset, HEAD_BYTES))
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump({"inode": inode, "offset": offset, "head": head.hex()}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def is_same(path, inode, offset, head):
    """Whether this is still the file that was read: not a new one under its inode, not emptied."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        same = status.st_ino == inode and status.st_size >= offset
        return same and file.read(len(head)) == head


def rotated(log, state):
    """The file beside the log that the log was before it was rotated; None where it is gone."""
    for entry in os.scandir(os.path.dirname(log) or "."):
        if entry.name.startswith(os.path.basename(log)) and entry.is_file():
            try:
                if is_same(entry.path, *state):
                    return entry.path
            except PermissionError:
                # An older one, perhaps, that nobody but root may read.
                continue
    return None


def read_from(path, offset, whole):
    """The lines after offset, where to go on (behind the last whole line), how much was skipped."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        skipped = max(0, size - offset - MOST_BYTES)
        file.seek(offset + skipped)
        text = file.read(MOST_BYTES)
    end = len(text) if whole else text.rfind(b"\n") + 1
    lines = text[:end].decode("utf-8", "replace").split("\n")
    return [line for line in lines if line], offset + skipped + end, skipped


def main():
    arguments = Arguments(
        description="Counts the lines of LOG that match PATTERN and were written since the last "
        "run, also those of a log that was rotated meanwhile.",
        epilog="The first run only remembers where the log ends. Of a log that is rotated twice "
        "between two runs, or compressed at once, a part goes unread. A log that cannot be read is "
        "UNKNOWN.",
    )
    arguments.add_argument("log", metavar="LOG")
    arguments.add_argument("pattern", metavar="PATTERN", help="a regular expression of Python")
    arguments.add_argument("-s", "--state", required=True, metavar="FILE",
                           help="where to remember how far was read; one for each check")
    arguments.add_argument("-i", "--ignore-case", action="store_true")
    arguments.add_argument("-x", "--exclude", metavar="PATTERN", help="do not count these lines")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE", default="0",
                           help="of the number of lines (0: any line)")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE")
    options = arguments.parse_args()
    flags = re.IGNORECASE if options.ignore_case else 0
    try:
        pattern = re.compile(options.pattern, flags)
        exclude = re.compile(options.exclude, flags) if options.exclude else None
    except re.error as error:
        finish(3, f"the pattern is no regular expression: {error}")
    try:
        if not os.path.isfile(options.log):
            finish(3, f"{options.log} is no file")
        state = read_state(options.state)
        if state is None:
            write_state(options.state, options.log, os.path.getsize(options.log))
            entry = measured("matches", 0, "", options.warning, options.critical, 0)
            finish(0, f"from now on {options.log} is watched", [entry])
        lines, skipped, offset = [], 0, state[1]
        if not is_same(options.log, *state):
            before = rotated(options.log, state)
            if before:
                lines, _, skipped = read_from(before, offset, whole=True)
            offset = 0
        new, offset, more = read_from(options.log, offset, whole=False)
        write_state(options.state, options.log, offset)
    except OSError as error:
        finish(3, f"{error.filename}: {error.strerror}")
    count, last = 0, collections.deque(maxlen=MOST_DETAILS)
    for line in [*lines, *new]:
        if pattern.search(line) and not (exclude and exclude.search(line)):
            count += 1
            last.append(line[:200])
    text = f"{count} of {len(lines) + len(new)} new lines of {options.log} match"
    if skipped + more:
        text += f", {skipped + more} bytes were too many to be read"
    entries = [
        measured("matches", count, "", options.warning, options.critical, 0),
        measured("lines", len(lines) + len(new), least=0),
    ]
    finish(judge(count, options.warning, options.critical), text, entries, last)


run(main)
