#!/usr/bin/env python3
"""A number that PostgreSQL counts, against thresholds."""
import argparse
import math
import os
import subprocess
import sys


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
        description="Compares the one number that QUERY returns with ranges. psql asks, in a "
        "transaction that cannot write.",
        epilog="Keep passwords in the file that PGPASSFILE names. A server that does not answer "
        "is critical; a query that fails, or returns anything but a number, is UNKNOWN.",
    )
    arguments.add_argument("query", metavar="QUERY", help="SELECT count(*) FROM orders WHERE ...")
    arguments.add_argument("-d", "--database", default="postgres",
                           help="a name, a URL or key=value pairs (postgres)")
    arguments.add_argument("-l", "--label", default="value", help="what the number is called")
    arguments.add_argument("-u", "--unit", default="", help="its unit: s, B, %%, c ...")
    arguments.add_argument("-t", "--timeout", type=int, default=10, metavar="SECONDS",
                           help="for the connection, and again for the query (10)")
    arguments.add_argument("-w", "--warning", type=Range, metavar="RANGE")
    arguments.add_argument("-c", "--critical", type=Range, metavar="RANGE")
    options = arguments.parse_args()
    limits = f"-c statement_timeout={options.timeout}s -c default_transaction_read_only=on"
    environment = dict(os.environ, PGCONNECT_TIMEOUT=str(options.timeout), PGOPTIONS=limits,
                       PGAPPNAME="sql_number")
    command = ["psql", "--no-psqlrc", "--no-password", "--no-align", "--tuples-only", "--quiet",
               "--set=ON_ERROR_STOP=1", f"--dbname={options.database}",
               f"--command={options.query}"]
    try:
        psql = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        finish(3, "psql is not installed")
    if psql.returncode == 2:
        finish(2, f"the server does not answer: {psql.stderr}")
    if psql.returncode != 0:
        finish(3, f"the query fails: {psql.stderr}")
    try:
        value = float(psql.stdout.strip())
    except ValueError:
        finish(3, f"the query returns no number but {psql.stdout.strip()[:80]!r}")
    if not math.isfinite(value):
        finish(3, f"the query returns {value}")
    value = int(value) if value.is_integer() else value
    code = judge(value, options.warning, options.critical)
    entry = measured(options.label, value, options.unit, options.warning, options.critical)
    finish(code, f"{options.label} is {value}{options.unit}", [entry])


run(main)
