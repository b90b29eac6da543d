#!/usr/bin/env python3
"""Whether a web page contains a word."""
import argparse
import http.client
import math
import sys
import time
import urllib.error
import urllib.request

MOST_BYTES = 1 << 20


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


def main():
    arguments = Arguments(
        description="Fetches URL and looks for WORD in the first MiB of the page.",
        epilog="No answer, a status from 400 on, and a page without the word are critical.",
    )
    arguments.add_argument("url", metavar="URL", help="http:// or https://")
    arguments.add_argument("word", metavar="WORD", help="a text as it is, not a pattern")
    arguments.add_argument("--absent", action="store_true", help="the page must not contain it")
    arguments.add_argument("-H", "--header", action="append", default=[], metavar="NAME:VALUE")
    arguments.add_argument("-t", "--timeout", type=float, default=10, help="seconds (10)")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE", help="of the seconds")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE", help="of the seconds")
    options = arguments.parse_args()
    if not options.url.startswith(("http://", "https://")):
        finish(3, f"{options.url} is no URL of a web page")
    request = urllib.request.Request(options.url, headers={"User-Agent": "http_word"})
    for header in options.header:
        name, _, value = header.partition(":")
        request.add_header(name.strip(), value.strip())
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=options.timeout) as answer:
            page = answer.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        finish(2, f"{options.url} answers {error.code} {error.reason}")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        finish(2, f"{options.url} cannot be fetched: {reason}")
    seconds = time.monotonic() - started
    perfdata = [
        measured("time", seconds, "s", options.warning, options.critical, 0),
        measured("size", len(page), "B", least=0),
    ]
    found = options.word.encode() in page
    if found == options.absent:
        verb = "contains" if found else "does not contain"
        finish(2, f"{options.url} {verb} \"{options.word}\"", perfdata)
    code = judge(seconds, options.warning, options.critical)
    finish(code, f"{options.url} is as it should be, in {seconds:.3f} s", perfdata)


run(main)
