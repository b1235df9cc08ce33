"""What is asked of each proxy? One function a scenario: a fresh process, a load, and the figures of one sample."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import origin
from proxies import Hop
from stage import HOST, LOAD_CPU, Invalid, free_ports, get

HERE = os.path.dirname(os.path.abspath(__file__))
RATE = 3000
IDLE, SETTLED = 5000, 100
MIB = 1 << 20


@dataclass
class Stage:
    """What every sample needs: scratch space, the origin's port, the sink's port, the length of a sample in seconds."""

    directory: str
    origin: int
    sink: int
    seconds: int
    wrk: str


def get_tiny(stage, proxy):
    """Saturation: 64 keep-alive connections, 100 bytes."""
    return under_load(stage, proxy, "/", origin.TINY, stage.seconds, wrk)


def at_rate(stage, proxy):
    """3,000 requests a second, evenly spaced, open loop. Twice as long: the CPU clock ticks in 10 ms."""
    return under_load(stage, proxy, "/", origin.TINY, 2 * stage.seconds, open_loop)


def get_64k(stage, proxy):
    """Saturation: 64 keep-alive connections, 64 KiB."""
    return under_load(stage, proxy, "/64k", origin.BODY, stage.seconds, wrk)


def memory(stage, proxy):
    """Resident after start, and what each of 5,000 idle connections adds (counted from the 100th on)."""
    [port] = free_ports(1)
    held = []
    with proxy.start(Hop(port, stage.origin), stage.directory) as process:
        try:
            time.sleep(0.5)
            started = process.resident()
            held += [ask(port) for _ in range(SETTLED)]
            time.sleep(0.2)
            settled = process.resident()
            held += [ask(port) for _ in range(IDLE - SETTLED)]
            time.sleep(0.5)
            full = process.resident()
            for kept in (held[0], held[-1]):
                ask(port, kept)
        finally:
            for connection in held:
                connection.close()
    return {"start_mib": started / MIB, "connection_kib": (full - settled) / 1024 / (IDLE - SETTLED)}


def big(stage, proxy):
    """1 GiB down and 1 GiB up through two sidecars in a row; a reader that pauses for a second at half way."""
    figures = {}
    for name, target, move in (("download_mib", stage.origin, download), ("upload_mib", stage.sink, upload)):
        outer, inner = free_ports(2)
        size = origin.TINY if target == stage.origin else 1
        with proxy.start(Hop(inner, target, "inbound", "120s"), stage.directory, "/", size) as inbound, \
                proxy.start(Hop(outer, inner, "outbound", "120s"), stage.directory, "/", size) as outbound:
            before = 0
            for process in (inbound, outbound):
                process.forget_peak()
                before += process.resident()
            began = time.monotonic()
            move(outer)
            figures[name.replace("mib", "seconds")] = time.monotonic() - began
            figures[name] = (inbound.resident("VmHWM") + outbound.resident("VmHWM") - before) / MIB
    return figures


SCENARIOS = {"get": get_tiny, "rate": at_rate, "64k": get_64k, "memory": memory, "big": big}
ONCE = {"memory", "big"}
# A proxy that waited longer than this share of a sample for its CPU was disturbed by somebody else's work.
DISTURBED = 0.05


def under_load(stage, proxy, path, size, seconds, load):
    """Warm-up, then CPU before and after a load; an error of any kind spoils the sample."""
    [port] = free_ports(1)
    with proxy.start(Hop(port, stage.origin), stage.directory, path, size) as process:
        load(stage, port, path, 1)
        began, waited, (user, system) = time.monotonic(), process.waited(), process.cpu()
        seen = load(stage, port, path, seconds)
        (user_after, system_after), waited = process.cpu(), process.waited() - waited
        took = time.monotonic() - began
        if get(port, path)[0] != 200:
            raise Invalid("no 200 after the load")
    if seen["errors"] or seen.get("dropped") or not seen["requests"]:
        raise Invalid(f"errors under load: {seen}")
    if load is open_loop and seen["requests"] < 0.99 * RATE * seconds:
        raise Invalid(f"the rate was not reached: {seen}")
    spent = user_after - user + system_after - system
    figures = {"cpu_us": spent / seen["requests"] * 1e6, "user_us": (user_after - user) / seen["requests"] * 1e6,
               "rps": seen["requests"] / seen["seconds"], "p50_us": seen["p50"], "p99_us": seen["p99"],
               "busy": spent / took, "waited": waited / took}
    return figures | ({"late_us": seen["late_p99"]} if "late_p99" in seen else {})


def wrk(stage, port, path, seconds):
    """One thread, 64 connections, as fast as it goes."""
    return on_load_cpu([stage.wrk, "-t1", "-c64", f"-d{seconds}s", "-s", os.path.join(HERE, "headers.lua"),
                        f"http://127.0.0.1:{port}{path}"], seconds)


def open_loop(_stage, port, _path, seconds):
    """64 connections at RATE."""
    return on_load_cpu([sys.executable, "-B", os.path.join(HERE, "openloop.py"), str(port), str(RATE), str(seconds)],
                       seconds)


def on_load_cpu(argv, seconds):
    """Runs a generator and returns the JSON on its last line."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 15, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}))
    if done.returncode:
        raise Invalid(f"{os.path.basename(argv[0])}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ask(port, connection=None):
    """One small exchange on a connection that stays open."""
    connection = connection or socket.create_connection(("127.0.0.1", port), 5)
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"o" * origin.TINY):
        data = connection.recv(65536)
        if not data:
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Invalid(f"answered {answer[:100]!r}")
    return connection


def download(port):
    """Reads the huge body to its last byte."""
    buffer = memoryview(bytearray(MIB))
    with exchange(port, f"GET /huge HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n") as connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        got, paused = len(head) - head.index(b"\r\n\r\n") - 4, False
        while count := connection.recv_into(buffer):
            got += count
            if got > origin.HUGE // 2 and not paused:
                paused = True
                time.sleep(1)
    if not head.startswith(b"HTTP/1.1 200") or got != origin.HUGE:
        raise Invalid(f"{got} bytes of {origin.HUGE} came, head {head[:60]!r}")


def upload(port):
    """Sends a huge body; the sink must have counted every byte."""
    with exchange(port, f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {origin.HUGE}\r\n\r\n") as connection:
        chunk = bytes(MIB)
        for _ in range(origin.HUGE // MIB):
            connection.sendall(chunk)
        answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(str(origin.HUGE).encode()):
        raise Invalid(f"the upload was answered with {answer[:200]!r}")


def exchange(port, head):
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(head.encode())
    return connection
