"""What is asked of each proxy? One function a scenario: a fresh process, a load, and the figures of one sample."""

import socket
import time
from dataclasses import dataclass

import mtls
import origin
from loads import CONNECTIONS, RATE, STREAMS, h2load, handshakes, open_loop, wrk
from proxies import Hop
from stage import HOST, Invalid, free_ports

IDLE, SETTLED = 5000, 100
MIB = 1 << 20


@dataclass
class Stage:
    """What every sample needs: scratch space, ports of the origins and the sink, the length of a sample in seconds."""

    directory: str
    origin: int
    origin_h2: int
    sink: int
    seconds: int


def get_tiny(stage, proxy):
    """Saturation: 64 keep-alive connections, 100 bytes."""
    return under_load(stage, proxy, "/", origin.TINY, stage.seconds, wrk)


def get_guarded(stage, proxy):
    """The same with all on that contains a fault."""
    return under_load(stage, proxy, "/", origin.TINY, stage.seconds, wrk, guarded=True)


def at_rate(stage, proxy):
    """3,000 requests a second, evenly spaced, open loop. Twice as long: the CPU clock ticks in 10 ms."""
    return under_load(stage, proxy, "/", origin.TINY, 2 * stage.seconds, open_loop)


def get_64k(stage, proxy):
    """Saturation: 64 keep-alive connections, 64 KiB."""
    return under_load(stage, proxy, "/64k", origin.BODY, stage.seconds, wrk)


def h2_to_h2(stage, proxy):
    """Saturation: 8 HTTP/2 connections with 16 streams each, 100 bytes; the origin speaks HTTP/2."""
    return under_load(stage, proxy, "/", origin.TINY, stage.seconds, h2load, "http2", "http2")


def h2_to_h1(stage, proxy):
    """The same where the origin speaks HTTP/1.1."""
    return under_load(stage, proxy, "/", origin.TINY, stage.seconds, h2load, "http2")


def mtls_h1(stage, proxy):
    """Saturation as in `get`, through two sidecars that speak HTTP/1.1 in mutual TLS; the cost of both together."""
    return through_two(stage, proxy, wrk, "http1", "http1")


def mtls_at_rate(stage, proxy):
    """The `rate` load through two sidecars that speak HTTP/1.1 in mutual TLS."""
    return through_two(stage, proxy, open_loop, "http1", "http1")


def mtls_at_rate_in_h2(stage, proxy):
    """The same with HTTP/2 between them."""
    return through_two(stage, proxy, open_loop, "http1", "http2")


def mtls_h2(stage, proxy):
    """Saturation as in `h2`, through two sidecars that speak HTTP/2 in mutual TLS."""
    return through_two(stage, proxy, h2load, "http2", "http2")


def mtls_h1_in_h2(stage, proxy):
    """The `mtls` load and origin, with HTTP/2 between the two sidecars."""
    return through_two(stage, proxy, wrk, "http1", "http2")


def mtls_h2_in_h1(stage, proxy):
    """The `mtls-h2` load and origin, with HTTP/1.1 between the two sidecars."""
    return through_two(stage, proxy, h2load, "http2", "http1")


def full_handshakes(stage, proxy):
    """Connections to an inbound port, each with a full handshake and both certificates, one after the other."""
    [port] = free_ports(1)
    certificates = mtls.issue(stage.directory)
    hop = Hop(port, stage.origin, "inbound", certificates=certificates)
    with proxy.start(hop, stage.directory) as process:
        load = lambda port, path, seconds: handshakes(port, f"{certificates}/{mtls.CALLER}", seconds)
        figures = cost([process], load, port, "/", stage.seconds)
        if mtls.get(port, f"{certificates}/{mtls.CALLER}") != 200:
            raise Invalid("no 200 after the load")
    return figures


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


SCENARIOS = {
    "get": get_tiny, "guarded": get_guarded, "rate": at_rate, "64k": get_64k, "h2": h2_to_h2, "h2-h1": h2_to_h1,
    "mtls": mtls_h1, "mtls-h1-in-h2": mtls_h1_in_h2, "mtls-rate": mtls_at_rate, "mtls-rate-in-h2": mtls_at_rate_in_h2,
    "mtls-h2": mtls_h2, "mtls-h2-in-h1": mtls_h2_in_h1, "handshakes": full_handshakes, "memory": memory, "big": big,
}
ONCE = {"memory", "big"}
HTTP2 = {"h2", "h2-h1", "mtls-h2", "mtls-h2-in-h1"}
# Who cannot: nginx speaks HTTP/2 to origins only from 1.29.4 on, and sells its health checks.
UNABLE = {name: {"nginx"} for name in SCENARIOS if name in ("h2", "guarded", "handshakes") or name.startswith("mtls")}
# A proxy that waited longer than this share of a sample for its CPU was disturbed by somebody else's work.
DISTURBED = 0.05


def under_load(stage, proxy, path, size, seconds, load, down="http1", up="http1", guarded=False):
    """What a request costs through one proxy."""
    [port] = free_ports(1)
    hop = Hop(port, stage.origin_h2 if up == "http2" else stage.origin, down=down, up=up, guarded=guarded)
    with proxy.start(hop, stage.directory, path, size) as process:
        figures = cost([process], load, port, path, seconds, size)
        if hop.ask(port, path)[0] != 200:
            raise Invalid("no 200 after the load")
    return figures


def through_two(stage, proxy, load, outside, inside):
    """What a request costs through two sidecars that speak `inside` to each other over mutual TLS, `outside` to others."""
    outer, inner = free_ports(2)
    behind = stage.origin_h2 if outside == "http2" else stage.origin
    certificates = mtls.issue(stage.directory)
    far = Hop(inner, behind, "inbound", down=inside, up=outside, certificates=certificates)
    near = Hop(outer, inner, "outbound", down=outside, up=inside, certificates=certificates)
    with proxy.start(far, stage.directory) as inbound, proxy.start(near, stage.directory) as outbound:
        seconds = stage.seconds * (2 if load is open_loop else 1)
        return cost([inbound, outbound], load, outer, "/", seconds, origin.TINY)


def cost(processes, load, port, path, seconds, size=None):
    """Warm-up, then CPU before and after a load; an error of any kind spoils the sample."""
    spent = lambda: [sum(of) for of in zip(*(process.cpu() for process in processes))]
    # Two proxies on one CPU wait for each other, which disturbs nobody's figures.
    waiting = lambda: processes[0].waited() if len(processes) == 1 else 0
    load(port, path, 1)
    began, waited, (user, system) = time.monotonic(), waiting(), spent()
    seen = load(port, path, seconds)
    (user_after, system_after), waited = spent(), waiting() - waited
    took = time.monotonic() - began
    if seen["errors"] or seen.get("dropped") or not seen["requests"]:
        raise Invalid(f"errors under load: {seen}")
    if load is open_loop and seen["requests"] < 0.99 * RATE * seconds:
        raise Invalid(f"the rate was not reached: {seen}")
    if "octets" in seen and not 0 <= seen["octets"] - seen["requests"] * size <= CONNECTIONS * STREAMS * size:
        raise Invalid(f"not {size} bytes an answer: {seen}")
    total = user_after - user + system_after - system
    figures = {"cpu_us": total / seen["requests"] * 1e6, "user_us": (user_after - user) / seen["requests"] * 1e6,
               "rps": seen["requests"] / seen["seconds"], "busy": total / took, "waited": waited / took}
    latencies = {"p50": "p50_us", "p99": "p99_us", "late_p99": "late_us", "mean": "mean_us"}
    return {**figures, **{name: seen[key] for key, name in latencies.items() if key in seen}}


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
