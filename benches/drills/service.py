"""What is behind a drill's sidecars? A service that does so much at one time, and writes down what came.

service.py PORT NAME WORK PLACES LOG: answers GET with its name after WORK milliseconds, PLACES requests at one time, the
others in turn. What starts with /once may not be kept. SIGSTOP makes it hang, as a process does that is stuck: the kernel
goes on accepting. At SIGTERM it writes when each request came and how many were then inside.
"""

import array
import asyncio
import heapq
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "compare"))

from stage import LOAD_CPU, Process, wait_ready


class Work:
    """The places, by when each is free. A timer that comes late makes no place wait: what it bears is PLACES / WORK."""

    def __init__(self, name, seconds, places):
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%%s\r\n%s" % (len(name), name.encode())
        self.kept, self.once = answer % b"", answer % b"cache-control: no-store\r\n"
        self.seconds, self.free, self.inside, self.seen = seconds, [0.0] * places, 0, array.array("d")

    def take(self, transport, head):
        loop, now = asyncio.get_running_loop(), time.monotonic()
        self.inside += 1
        self.seen.extend((now, self.inside))
        end = max(now, self.free[0]) + self.seconds
        heapq.heapreplace(self.free, end)
        loop.call_at(end, self.end, transport, self.once if head.startswith(b"GET /once") else self.kept)

    def end(self, transport, answer):
        transport.write(answer)
        self.inside -= 1


class Connection(asyncio.Protocol):
    """GETs, one after another."""

    def __init__(self, work):
        self.work, self.buffer = work, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, self.buffer = self.buffer[:end], self.buffer[end + 4:]
            self.work.take(self.transport, head)


class Service(Process):
    """Such a service in a process of its own, ready."""

    def __init__(self, directory, port, name, work, places=1000):
        self.path = f"{directory}/{name}-{time.monotonic_ns()}.seen"
        argv = [sys.executable, "-B", os.path.abspath(__file__)]
        super().__init__([*argv, *map(str, (port, name, work, places, self.path))], LOAD_CPU, directory)
        try:
            wait_ready(self, port, "/", len(name))
        except BaseException:
            self.stop()
            raise

    def hang(self):
        os.killpg(self.child.pid, signal.SIGSTOP)

    def wake(self):
        os.killpg(self.child.pid, signal.SIGCONT)

    def seen(self):
        """Ends it. What came: (seconds of the monotonic clock, how many were then inside)."""
        self.stop()
        if not os.path.exists(self.path):
            return []
        figures = array.array("d")
        with open(self.path, "rb") as log:
            figures.frombytes(log.read())
        return list(zip(figures[::2], figures[1::2]))


async def serve(port, work, log):
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    await loop.create_server(lambda: Connection(work), "127.0.0.1", port, backlog=4096)
    await done.wait()
    with open(log, "wb") as file:
        work.seen.tofile(file)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Work(sys.argv[2], float(sys.argv[3]) / 1e3, int(sys.argv[4])), sys.argv[5]))
