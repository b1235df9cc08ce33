"""Who asks, and what did it see? One function a load generator: `load(port, path, seconds)` gives its figures."""

import json
import os
import re
import subprocess
import sys

from stage import HOST, LOAD_CPU, Invalid

HERE = os.path.dirname(os.path.abspath(__file__))
RATE = 3000
CONNECTIONS, STREAMS, STAGGER = 8, 16, 0.05
# What wrk sends too (headers.lua); the authority is the tenth.
FIELDS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "application/json,text/plain;q=0.9,*/*;q=0.8", "accept-language": "en-GB,en;q=0.7,de;q=0.3",
    "accept-encoding": "identity", "cookie": "session=6f1c9e0a7b5d4c3e; theme=dark; seen=1",
    "referer": "http://bench.local/items", "cache-control": "no-cache", "x-tenant": "simplebank",
    "x-client-version": "4.18.2",
}
FINISHED = re.compile(r"finished in ([\d.]+)(ms|s), ")
REQUESTS = re.compile(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
STATUSES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
OCTETS = re.compile(r"\((\d+)\) data")
MEAN = re.compile(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ")
EACH = re.compile(r"req/s +: +([\d.]+) +[\d.]+ +([\d.]+) ")
ENDED = re.compile(r"(\d+) connections in (\d+) real seconds")
MICROSECONDS = {"us": 1, "ms": 1e3, "s": 1e6}


def wrk(port, path, seconds):
    """One thread, 64 connections, as fast as it goes."""
    return last_line(run(["wrk", "-t1", "-c64", f"-d{seconds}s", "-s", os.path.join(HERE, "headers.lua"),
                          f"http://127.0.0.1:{port}{path}"], seconds))


def open_loop(port, _path, seconds):
    """64 connections at RATE."""
    return last_line(run([sys.executable, "-B", os.path.join(HERE, "openloop.py"), str(port), str(RATE), str(seconds)],
                         seconds))


def h2load(port, path, seconds):
    """8 HTTP/2 connections with 16 streams each, as fast as it goes; `octets` of content came in all.

    Each connection's rate is over its own life, and the requests of a lost one are no errors to h2load. So a connection
    that was lost shows as a total below the sum of the rates, one that was starved as a rate far below the others. They
    start up to STAGGER after one another.
    """
    fields = {":authority": HOST, **FIELDS}
    said = run(["h2load", "-t1", f"-c{CONNECTIONS}", f"-m{STREAMS}", f"-D{seconds}",
                *(word for name, value in fields.items() for word in ("-H", f"{name}: {value}")),
                f"http://127.0.0.1:{port}{path}"], seconds)
    found = [pattern.search(said) for pattern in (FINISHED, REQUESTS, STATUSES, OCTETS, MEAN, EACH)]
    if not all(found):
        raise Invalid(f"h2load says nothing that we understand: {said[-300:]}")
    finished, requests, statuses, octets, mean, each = found
    done, succeeded, *errors = map(int, requests.groups())
    took = float(finished[1]) * MICROSECONDS[finished[2]] / 1e6
    slowest, average = map(float, each.groups())
    if done < CONNECTIONS * average * (took - STAGGER) or slowest < average / 2:
        raise Invalid(f"lost or starved connections: {done / took:.0f} requests/s in all, {average:.0f} a connection, "
                      f"the slowest {slowest:.0f}")
    return {"requests": done, "errors": done - succeeded + sum(errors) + sum(map(int, statuses.groups()[1:])),
            "seconds": took, "octets": int(octets[1]), "mean": float(mean[1]) * MICROSECONDS[mean[2]]}


def handshakes(port, certificates, seconds):
    """One connection after the other, each with a full handshake of TLS 1.3 in which both sides show certificates."""
    said = run(["openssl", "s_time", "-new", "-tls1_3", "-time", str(seconds), "-connect", f"127.0.0.1:{port}", "-cert",
                f"{certificates}/tls.crt", "-key", f"{certificates}/tls.key", "-CAfile", f"{certificates}/ca.crt"], seconds)
    found = ENDED.search(said)
    if not found:
        raise Invalid(f"openssl s_time says nothing that we understand: {said[-300:]}")
    return {"requests": int(found[1]), "errors": 0, "seconds": int(found[2])}


def run(argv, seconds):
    """What a generator says on the load's CPU."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 15, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}))
    if done.returncode:
        raise Invalid(f"{os.path.basename(argv[0])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def last_line(said):
    return json.loads(said.strip().splitlines()[-1])
