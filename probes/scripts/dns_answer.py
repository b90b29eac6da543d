#!/usr/bin/env python3
"""What this host's resolver answers for a name."""
import argparse
import ipaddress
import math
import socket
import sys
import time


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
        description="Resolves NAME as every program of this host does (hosts file, resolver), and "
        "compares the addresses.",
        epilog="A name without an address, or without one that is expected, is critical.",
    )
    arguments.add_argument("name", metavar="NAME")
    arguments.add_argument("-e", "--expect", action="append", default=[], metavar="ADDRESS",
                           type=ipaddress.ip_address, help="an address that must be among them")
    arguments.add_argument("--only", action="store_true", help="there must be no others")
    arguments.add_argument("-4", dest="family", action="store_const", const=socket.AF_INET,
                           default=socket.AF_UNSPEC, help="ask for IPv4 addresses only")
    arguments.add_argument("-6", dest="family", action="store_const", const=socket.AF_INET6,
                           help="ask for IPv6 addresses only")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE", help="of the seconds")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE", help="of the seconds")
    options = arguments.parse_args()
    started = time.monotonic()
    try:
        answers = socket.getaddrinfo(options.name, None, options.family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        finish(2, f"{options.name} cannot be resolved: {getattr(error, 'strerror', None) or error}")
    seconds = time.monotonic() - started
    # A link-local address has its interface behind a percent sign.
    found = {ipaddress.ip_address(answer[4][0].partition("%")[0]) for answer in answers}
    entries = [
        measured("time", seconds, "s", options.warning, options.critical, 0),
        measured("addresses", len(found), least=0),
    ]
    text = ", ".join(sorted(map(str, found)))
    missing = [str(address) for address in options.expect if address not in found]
    if missing:
        finish(2, f"{options.name} is {text} and not {', '.join(missing)}", entries)
    others = sorted(str(address) for address in found - set(options.expect))
    if options.only and others:
        finish(2, f"{options.name} is also {', '.join(others)}", entries)
    finish(judge(seconds, options.warning, options.critical), f"{options.name} is {text}", entries)


run(main)
