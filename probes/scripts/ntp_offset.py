#!/usr/bin/env python3
"""How far this host's clock is from a time server's."""
import argparse
import math
import os
import socket
import struct
import sys
import time

# Seconds from 1900, where NTP begins, to 1970.
ERA = 2208988800


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


def ask(server, port, timeout):
    """The offset of our clock and the time that the answer was under way, both in seconds."""
    family, kind, protocol, _, address = socket.getaddrinfo(server, port, 0, socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(timeout)
        sock.connect(address)
        # The server hands this back, so that nobody else can answer for it.
        cookie = os.urandom(8)
        sent = time.time()
        sock.send(b"\x23" + bytes(39) + cookie)
        while True:
            answer = sock.recv(512)
            received = time.time()
            if len(answer) >= 48 and answer[24:32] == cookie:
                break
            if time.time() - sent > timeout:
                raise TimeoutError("timed out")
    first, stratum = answer[0], answer[1]
    if first & 7 != 4:
        finish(3, f"{server} does not answer as a time server")
    if first >> 6 == 3 or not 0 < stratum < 16:
        finish(3, f"{server} has no time itself")
    arrived, left = (seconds - ERA + fraction / 2**32
                     for seconds, fraction in struct.iter_unpack("!II", answer[32:48]))
    offset = ((arrived - sent) + (left - received)) / 2
    return -offset, (received - sent) - (left - arrived), stratum


def main():
    arguments = Arguments(
        description="Asks a time server (SNTP) three times and believes the answer that took the "
        "shortest time. The offset is positive where this host's clock is fast.",
        epilog="A server that does not answer is UNKNOWN: the clock may be right all the same. "
        "Write ranges that begin with a minus sign like --warning=-0.5:0.5.",
    )
    arguments.add_argument("server", metavar="SERVER")
    arguments.add_argument("-p", "--port", type=int, default=123)
    arguments.add_argument("-t", "--timeout", type=float, default=2, help="of each answer, s (2)")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE", default="-0.1:0.1",
                           help="of the offset in seconds (-0.1:0.1)")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE", default="-1:1",
                           help="of the offset in seconds (-1:1)")
    options = arguments.parse_args()
    answers, problem = [], None
    for _ in range(3):
        try:
            answers.append(ask(options.server, options.port, options.timeout))
        except OSError as error:
            problem = error
    if not answers:
        finish(3, f"{options.server} does not answer: {problem}")
    offset, delay, stratum = min(answers, key=lambda answer: answer[1])
    entries = [
        measured("offset", offset, "s", options.warning, options.critical),
        measured("delay", max(delay, 0.0), "s", least=0),
        measured("stratum", stratum, least=0),
    ]
    code = judge(offset, options.warning, options.critical)
    finish(code, f"the clock is {offset:+.6f} s off that of {options.server}", entries)


run(main)
