"""What does a client see that does not wait? Requests at a fixed rate, evenly spaced, over keep-alive connections.

Latency counts from the moment at which a request was due, so a proxy that stalls cannot hide the queue behind it.
Even spacing lets a proxy wake up for nearly every request: the usual life of a sidecar.
"""

import collections
import json
import re
import select
import socket
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
GRACE = 2.0


def request(host="bench.local", path="/"):
    """A GET with ten header fields."""
    fields = {"Host": host, "User-Agent": "openloop/1", "Accept": "*/*", "Accept-Language": "en", "Accept-Encoding":
              "identity", "Cookie": "session=6f1c9e0a7b5d4c3e; theme=dark", "Referer": "http://bench.local/items",
              "Cache-Control": "no-cache", "X-Tenant": "simplebank", "X-Client-Version": "4.18.2"}
    return (f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n").encode()


class Connection:
    """A socket and, while an answer is awaited, when it was due and the caller's mark."""

    __slots__ = ("socket", "buffer", "due", "mark")

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer, self.due, self.mark = b"", None, None


class OpenLoop:
    """`mark()` is taken when a request is sent; `check(status, body, mark)` says whether its answer is right."""

    def __init__(self, port, message, connections=64, mark=lambda: None, check=lambda status, body, mark: status == 200):
        self.port, self.message, self.mark, self.check = port, message, mark, check
        self.poll = select.epoll()
        self.open, self.idle = {}, collections.deque()
        self.latencies, self.lateness, self.errors, self.dropped = [], [], 0, 0
        for _ in range(connections):
            self.connect()

    def run(self, rate, seconds, stop=lambda: False):
        """Sends for `seconds` or until `stop()`, waits for the last answers, returns the figures (microseconds)."""
        period, total, sent = 1e9 / rate, int(rate * seconds), 0
        start = time.perf_counter_ns() + 10_000_000
        end = start + (seconds + GRACE) * 1e9
        while True:
            now = time.perf_counter_ns()
            while sent < total and self.idle and start + sent * period <= now:
                self.send(int(start + sent * period), now)
                sent += 1
            if stop() and sent < total:
                total, end = sent, now + GRACE * 1e9
            if now > end or (sent == total and len(self.idle) == len(self.open)):
                break
            wait = start + sent * period - time.perf_counter_ns() if self.idle and sent < total else 1e8
            # select(2) waits by the microsecond where epoll_wait(2) rounds up to a millisecond.
            if wait <= 0 or select.select([self.poll.fileno()], [], [], wait / 1e9)[0]:
                for descriptor, _ in self.poll.poll(0):
                    self.receive(self.open[descriptor])
        self.errors += total - sent + len(self.open) - len(self.idle)
        return self.figures((time.perf_counter_ns() - start) / 1e9)

    def figures(self, seconds):
        """What was counted so far."""
        return {"requests": len(self.latencies), "seconds": seconds, "errors": self.errors, "dropped": self.dropped,
                "p50": percentile(self.latencies, 50), "p99": percentile(self.latencies, 99),
                "late_p99": percentile(self.lateness, 99)}

    def connect(self):
        connection = Connection(self.port)
        self.open[connection.socket.fileno()] = connection
        self.idle.append(connection)
        self.poll.register(connection.socket, select.EPOLLIN)

    def send(self, due, now):
        connection = self.idle.popleft()
        connection.due, connection.mark = due, self.mark()
        self.lateness.append(now - due)
        try:
            connection.socket.send(self.message)
        except OSError:
            self.drop(connection)

    def receive(self, connection):
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(connection)
            return
        connection.buffer += data
        head = connection.buffer.find(b"\r\n\r\n") + 4
        if head < 4:
            return
        length = LENGTH.search(connection.buffer, 0, head)
        if connection.due is None or not length:
            self.drop(connection)
        elif len(connection.buffer) >= head + int(length[1]):
            self.answered(connection, head)

    def answered(self, connection, head):
        self.latencies.append(time.perf_counter_ns() - connection.due)
        if not self.check(int(connection.buffer[9:12]), connection.buffer[head:], connection.mark):
            self.errors += 1
        connection.buffer, connection.due = b"", None
        self.idle.append(connection)

    def drop(self, connection):
        """The peer closed a keep-alive connection, or what came is no answer to anything."""
        self.dropped += 1
        if connection.due is None:
            self.idle.remove(connection)
        else:
            self.errors += 1
        self.poll.unregister(connection.socket)
        del self.open[connection.socket.fileno()]
        connection.socket.close()
        self.connect()


def percentile(nanoseconds, percent):
    """In microseconds, nearest rank; None of nothing."""
    ranked = sorted(nanoseconds)
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] / 1e3 if ranked else None


def main():
    """openloop.py PORT RATE SECONDS [CONNECTIONS]: prints the figures as JSON."""
    with open("/proc/self/timerslack_ns", "w", encoding="ascii") as slack:
        slack.write("1")
    port, rate, seconds, connections = (int(word) for word in (sys.argv[1:] + ["64"])[:4])
    print(json.dumps(OpenLoop(port, request(), connections).run(rate, seconds)))


if __name__ == "__main__":
    main()
