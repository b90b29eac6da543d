#!/usr/bin/env python3
"""Writes agent/often.ld: which code of the agent is often run, as callgrind sees it.

    order.py PROGRAM SCRIPT      the agent, built to be installed and not stripped; the linker script to be written

Starts the agent, and when it is up has it scraped, asked for probes, and run checks; what is run from then on is often run. Uses the
harness, whose folder MEASURE_DIR names, and needs valgrind and binutils.
"""
import ctypes
import glob
import os
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.environ["MEASURE_DIR"])
import lib

# Naming a function alone is not worth a line where less code than this would be taken along.
NAME_IS_WORTH = 900
# The rest of a longer name tells little.
LONGEST_NAME = 120

SCRIPT = """/* Puts code that every agent runs all the time together; written by `tests/bench/run.sh order`. The kernel maps 16 pages around each
   that is touched, so that an agent holds far more code than it runs where the two are mixed.

   Names are those of sections, one a function, as far as they stay from build to build. A name that is gone costs nothing but its
   place here; a function that is new and not named is found with the rest. */
SECTIONS
{
  .text.often :
  {
    /* Mostly run. */
    *(%s)
    /* One for many types, of which few are run; apart, so that what is above has no gaps. */
    *(%s)
  }
}
INSERT AFTER .text;
"""

AGENT = """scripts: {concurrency: 16}
blackbox:
  config: %(folder)s/blackbox.yml
  allow_targets: [127.0.0.0/8]
checks:
  - {name: script, interval: 2s, retries: 0, probe: {script: {command: [/bin/echo, "OK | a=1;2;3"]}}}
  - {name: tcp, interval: 2s, retries: 0, probe: {tcp: {address: "127.0.0.1:%(port)d"}}}
  - {name: http, interval: 2s, retries: 0, probe: {http: {url: "http://127.0.0.1:%(port)d/"}}}
"""
BLACKBOX = """modules:
  http: {prober: http, http: {preferred_ip_protocol: ip4}}
  tcp: {prober: tcp, tcp: {preferred_ip_protocol: ip4}}
"""


def without_auxv():
    """Refuses PR_GET_AUXV, to which valgrind gives the kernel's answer: it names a mapping that it has taken away."""
    prctl, errno = 157, 22
    rules = [(0x20, 0, 0, 0), (0x15, 0, 3, prctl), (0x20, 0, 0, 16), (0x15, 0, 1, 0x41555856), (0x06, 0, 0, 0x50000 | errno), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *rule) for rule in rules))
    libc = ctypes.CDLL(None, use_errno=True)
    program = struct.pack("<HxxxxxxQ", len(rules), ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
        raise OSError(ctypes.get_errno(), "seccomp")


def watch(how, agent):
    subprocess.run(["callgrind_control", "-i", how, str(agent.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(program):
    """Lets the agent do what it often does. Returns the names of the functions that it ran."""
    folder, (target, port), web = lib.WORK + "/order", lib.server("tiny", threads=4, keep=True), lib.Ports()["web"]
    os.makedirs(folder, exist_ok=True)
    for old in glob.glob(folder + "/calls*"):
        os.remove(old)
    for name, text in (("agent.yml", AGENT), ("blackbox.yml", BLACKBOX)):
        with open("%s/%s" % (folder, name), "w") as file:
            file.write(text % {"folder": folder, "port": port} if "%(" in text else text)
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--demangle=no", "--callgrind-out-file=%s/calls" % folder, program,
               "--config", folder + "/agent.yml", "--listen", "127.0.0.1:%d" % web, "--log-level", "error"]
    with open(folder + "/log", "wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=without_auxv)
    url = "http://127.0.0.1:%d" % web
    try:
        lib.wait_http(url + "/readyz", 120)
        watch("on", agent)
        for arguments in (["--conns", 1], ["--conns", 8], ["--conns", 1, "--gzip"]):
            lib.mload("http", "--url", url + "/metrics", "--requests", 30, *arguments)
        for module, address in (("http", "http://127.0.0.1:%d/" % port), ("tcp", "127.0.0.1:%d" % port)):
            lib.mload("http", "--url", "%s/probe?module=%s&target=%s" % (url, module, address), "--requests", 100, "--conns", 8)
        # Every check runs some times.
        time.sleep(7)
        # Not to its end, which comes but once.
        watch("off", agent)
    finally:
        agent.terminate()
        agent.wait()
        target.stop()
    found = set()
    for part in glob.glob(folder + "/calls*"):
        with open(part) as file:
            found |= {m.group(1) for m in (re.match(r"c?fn=\(\d+\) (\S+)", line) for line in file) if m}
    return found


def sizes(program):
    """The bytes of every function of Rust, by its name."""
    told = subprocess.run(["nm", "-S", "--defined-only", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = (line.split() for line in told.splitlines())
    return {w[3]: int(w[1], 16) for w in lines if len(w) == 4 and w[2] in "tTwW" and w[3].startswith(("_ZN", "_R"))}


def lasting(name):
    """What stays of a name when something else changes: no hash of it, its crate or its type."""
    name = re.sub(r"(17h[0-9a-f]{16}E)?(\.llvm\.\d+)?$", "", name)
    return re.sub(r"Cs[0-9A-Za-z]+_(?=\d)", "Cs*_", re.sub(r"^_ZN\d+_\$LT\$", "_ZN*_$LT$", name))


class Start:
    """A start of names: how much code has it, and how much of that is run."""

    def __init__(self):
        self.longer, self.run, self.not_run = {}, 0, 0

    def cheapest(self, start):
        """The starts by which all that is run is found, and what it costs to find it so."""
        own = self.not_run + NAME_IS_WORTH, [(start, self.run, self.not_run)]
        # What is a name as it is cannot be told from the longer ones.
        if not self.longer or "" in self.longer:
            return own
        parts = [part.cheapest(start + more) for more, part in self.longer.items() if part.run]
        apart = sum(cost for cost, _ in parts), [one for _, starts in parts for one in starts]
        return min(own, apart, key=lambda way: way[0])


def starts(bytes_of, found):
    root = Start()
    for name, size in bytes_of.items():
        # Cut where a component begins or ends.
        parts = [part for part in re.split(r"(?<=\.\.)|(?=\$)|(?<=[a-z_E])(?=\d+[A-Za-z_])", lasting(name)) if part]
        here = root
        for part in parts + [""]:
            here = here.longer.setdefault(part, Start())
            here.run, here.not_run = (here.run + size, here.not_run) if name in found else (here.run, here.not_run + size)
    return [one for part, here in root.longer.items() if here.run for one in here.cheapest(part)[1]]


def lines(patterns):
    text, line = [], ""
    for pattern in sorted({".text*.%s*" % start[:LONGEST_NAME].rstrip("*") for start, _, _ in patterns}):
        if line and len(line) + len(pattern) > 130:
            text, line = text + [line], ""
        line += " " * bool(line) + pattern
    return "".join("\n      " + line for line in text + [line])


def main():
    program, script = sys.argv[1:]
    chosen = starts(sizes(program), run(program))
    dense = [one for one in chosen if one[1] >= one[2]]
    with open(script, "w") as file:
        file.write(SCRIPT % (lines(dense), lines([one for one in chosen if one not in dense])))
    lib.log("%d names for %d KiB that are run, and %d KiB with them" % (len(chosen), sum(one[1] for one in chosen) >> 10, sum(one[2] for one in chosen) >> 10))


lib.main(main)
