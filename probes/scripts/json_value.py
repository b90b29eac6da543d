#!/usr/bin/env python3
"""A number in a JSON document against thresholds."""
import argparse
import json
import math
import sys
import urllib.request

MOST_BYTES = 8 << 20


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


def find(document, pointer):
    """What a JSON Pointer (RFC 6901) points at."""
    if pointer and not pointer.startswith("/"):
        finish(3, f"{pointer} is no JSON Pointer: it begins with a slash")
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        try:
            # A list wants a number without a sign: minus one is not the last entry.
            is_index = isinstance(document, list) and step.isdecimal()
            document = document[int(step) if is_index else step]
        except (KeyError, IndexError, TypeError):
            finish(3, f"there is no {pointer}: nothing at {step}")
    return document


def read(source, timeout):
    if source.startswith(("http://", "https://")):
        with urllib.request.urlopen(source, timeout=timeout) as answer:
            return answer.read(MOST_BYTES + 1)
    with open(source, "rb") as file:
        return file.read(MOST_BYTES + 1)


def main():
    arguments = Arguments(
        description="Compares the number at POINTER in the JSON document SOURCE with ranges.",
        epilog="true counts as 1 and false as 0. What cannot be read, or is no number, is UNKNOWN.",
    )
    arguments.add_argument("source", metavar="SOURCE", help="a file, or an http(s) URL")
    arguments.add_argument("pointer", metavar="POINTER", help="a JSON Pointer: /queues/0/waiting")
    arguments.add_argument("--count", action="store_true", help="count the entries at POINTER")
    arguments.add_argument("-l", "--label", help="what the number is called (the last step)")
    arguments.add_argument("-u", "--unit", default="", help="its unit: s, B, %%, c ...")
    arguments.add_argument("-t", "--timeout", type=float, default=10, help="seconds (10)")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE")
    options = arguments.parse_args()
    try:
        text = read(options.source, options.timeout)
    except (OSError, ValueError) as error:
        finish(3, f"{options.source} cannot be read: {error}")
    if len(text) > MOST_BYTES:
        finish(3, f"{options.source} is longer than 8 MiB")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        finish(3, f"{options.source} is no JSON: {error}")
    value = find(document, options.pointer)
    if options.count and isinstance(value, (list, dict)):
        value = len(value)
    if isinstance(value, bool):
        value = int(value)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        finish(3, f"{options.pointer} is no number but {json.dumps(value)[:80]}")
    label = options.label or options.pointer.rsplit("/", 1)[-1] or "value"
    code = judge(value, options.warning, options.critical)
    entry = measured(label, value, options.unit, options.warning, options.critical)
    finish(code, f"{label} is {value}{options.unit}", [entry])


run(main)
