"""What is behind a drill's sidecars? A service that does so much at one time, and writes down what came.

service.py PORT NAME WORK PLACES LOG: answers GET with its name after WORK milliseconds, PLACES requests at one time, the
others in turn. What starts with /once may not be kept. SIGSTOP makes it hang, as a process does that is stuck: the kernel
goes on accepting. At SIGTERM it writes when each request came and how many were then inside.
"""

import array
import asyncio
import collections
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "compare"))

from stage import LOAD_CPU, Process, wait_ready


class Work:
    """The places, and who waits for one."""

    def __init__(self, name, seconds, places):
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%%s\r\n%s" % (len(name), name.encode())
        self.kept, self.once = answer % b"", answer % b"cache-control: no-store\r\n"
        self.seconds, self.free, self.inside = seconds, places, 0
        self.waiting, self.seen = collections.deque(), array.array("d")

    def take(self, transport, head):
        self.inside += 1
        self.seen.extend((time.monotonic(), self.inside))
        job = transport, self.once if head.startswith(b"GET /once") else self.kept
        if self.free:
            self.begin(job)
        else:
            self.waiting.append(job)

    def begin(self, job):
        self.free -= 1
        asyncio.get_running_loop().call_later(self.seconds, self.end, job)

    def end(self, job):
        transport, answer = job
        transport.write(answer)
        self.inside -= 1
        self.free += 1
        if self.waiting:
            self.begin(self.waiting.popleft())


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

    def __init__(self, directory, port, name, work, places=10_000):
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
