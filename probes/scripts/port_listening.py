#!/usr/bin/env python3
"""Whether something listens on ports of this host."""
import argparse
import ipaddress
import math
import socket
import struct
import sys

# States of a socket: TCP that listens, UDP that nobody is connected to.
LISTENS = {"tcp": "0A", "udp": "07"}


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


def listening(protocol):
    """Addresses and ports on which something listens."""
    found = []
    for file, family in ((protocol, socket.AF_INET), (protocol + "6", socket.AF_INET6)):
        try:
            with open(f"/proc/net/{file}", encoding="ascii") as lines:
                next(lines)
                fields = [line.split() for line in lines]
        except FileNotFoundError:
            # The host does without IPv6.
            continue
        for field in fields:
            if field[3] == LISTENS[protocol]:
                address, port = field[1].split(":")
                # Words of the machine's own byte order.
                words = [int(address[at:at + 8], 16) for at in range(0, len(address), 8)]
                packed = struct.pack(f"={len(words)}I", *words)
                ip = ipaddress.ip_address(socket.inet_ntop(family, packed))
                found.append((getattr(ip, "ipv4_mapped", None) or ip, int(port, 16)))
    return found


def port(text):
    number, _, protocol = text.partition("/")
    if protocol not in ("", "tcp", "udp") or not 0 < int(number) < 65536:
        raise ValueError(text)
    return int(number), protocol or "tcp"


def main():
    arguments = Arguments(
        description="Looks in the kernel's tables whether something listens on every PORT, "
        "without connecting to it. One on which nothing listens is critical.",
    )
    arguments.add_argument("ports", metavar="PORT", nargs="+", type=port, help="5432, or 53/udp")
    arguments.add_argument("-a", "--address", type=ipaddress.ip_address,
                           help="reachable at this address of the host, or at all of them")
    options = arguments.parse_args()
    tables = {protocol: listening(protocol) for protocol in {p for _, p in options.ports}}
    missing, entries = [], []
    for number, protocol in options.ports:
        addresses = [address for address, found in tables[protocol] if found == number]
        if options.address:
            # What listens at :: usually serves IPv4 too.
            at = {options.address, ipaddress.ip_address("::")}
            at.add(ipaddress.ip_address("0.0.0.0") if options.address.version == 4 else None)
            addresses = [address for address in addresses if address in at]
        if not addresses:
            missing.append(f"{number}/{protocol}")
        entries.append(measured(f"{number}/{protocol}", len(addresses), "", None, Range("1:"), 0))
    where = f" at {options.address}" if options.address else ""
    if missing:
        finish(2, f"nothing listens on {', '.join(missing)}{where}", entries)
    text = ", ".join(f"{number}/{protocol}" for number, protocol in options.ports)
    finish(0, f"something listens on {text}{where}", entries)


run(main)
