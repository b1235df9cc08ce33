"""How does a drill get its sidecar? A private network, a policy file, and the real binary until the drill ends."""

import argparse
import os
import resource
import shutil
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "compare"))

from scenarios import DISTURBED
from stage import LOAD_CPU, PROXY_CPU, Process, end_on_signals, free_ports, isolate


def options(description):
    """A parser that knows what all drills take; everything else is the drill's."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outrigger", metavar="PATH", default="target/release/outrigger")
    parser.add_argument("--realtime", action="store_true", help="go before all other work on a machine that is not idle")
    return parser


def prepare(asked):
    """Isolates the drill and raises its file limit; returns the binary's absolute path."""
    found = shutil.which(asked.outrigger)
    if not found:
        sys.exit(f"no sidecar at {asked.outrigger}: cargo build --release")
    if asked.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    end_on_signals()
    if reason := isolate():
        say(f"no network namespace of its own ({reason}): runs on this machine's loopback")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.sched_setaffinity(0, {LOAD_CPU} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    return os.path.abspath(found)


def head(listen=None, inbound=None):
    """The `Sidecar` document, and the port of its metrics. Takes what is called at `listen`, and for the second of the
    ports `inbound` at the first."""
    admin, metrics = free_ports(2)
    ports = f"outbound: {{listen: 127.0.0.1:{listen}, capture: explicit, unknown: reject}}\n" if listen else ""
    if inbound:
        ports += "inbound: [{{port: {0}, listen: 127.0.0.1:{0}, forwardTo: 127.0.0.1:{1}}}]\n".format(*inbound)
    return f"""apiVersion: outrigger/v1
kind: Sidecar
name: drill
workers: 1
{ports}admin: {{listen: 127.0.0.1:{admin}, metrics: 127.0.0.1:{metrics}}}
""", metrics


def upstream(name, address, policy=""):
    """An `Upstream` document with one endpoint, and lines of `policy`."""
    return f"""---
apiVersion: outrigger/v1
kind: Upstream
name: {name}
hosts: [{name}.local]
discovery: {{static: [{address}]}}
{policy}"""


def start(binary, policy, directory):
    """The sidecar with this policy file."""
    cpu = PROXY_CPU if os.cpu_count() > 1 else LOAD_CPU
    return Process([binary, "run", "--config", policy], cpu, directory)


class Calm:
    """Whether others left the sidecar its CPU, from now on."""

    def __init__(self, process):
        self.process, self.began, self.before = process, time.monotonic(), process.waited()

    def waited(self):
        """Share of the time, until now, that it was ready and others ran."""
        return (self.process.waited() - self.before) / (time.monotonic() - self.began)


def say(text):
    print(text, file=sys.stderr, flush=True)


def progress(text):
    """One line that overwrites itself on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r{text:<100}", end="", file=sys.stderr, flush=True)


def verdict(facts, failures, waited=None):
    """Prints what was seen and the judgement; the exit code. `waited`: how long others had the sidecar's CPU."""
    progress("")
    if waited is not None:
        facts = {**facts, "sidecar waited for its CPU": f"{waited:.1%} of the time"}
        if failures and waited > DISTURBED:
            failures = [*failures, "it was disturbed by other work on this machine: run it again"]
    for name, value in facts.items():
        print(f"{name:>34}  {value}")
    for failure in failures:
        print(f"FAILED: {failure}")
    print("verdict: " + ("failed" if failures else "passed"))
    return 1 if failures else 0
