"""Where is it measured, and what runs there? A private network, pinned processes, their cost and their end."""

import ctypes
import fcntl
import http.client
import os
import re
import signal
import socket
import struct
import subprocess
import time

LOAD_CPU, PROXY_CPU = 0, 1
HOST = "bench.local"
TICK = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None, use_errno=True)


class Invalid(Exception):
    """A sample that may not be counted: a wrong answer, an error, a process that died."""


def isolate():
    """Moves this process into a network namespace of its own, `lo` up. Returns why not, or None.

    In the machine's own namespace NAT rules and connection tracking may cost every proxy several microseconds a request.
    """
    new_user, new_net = 0x10000000, 0x40000000
    uid, gid = os.geteuid(), os.getegid()
    flags = new_net if uid == 0 else new_net | new_user
    if LIBC.unshare(flags) != 0:
        return os.strerror(ctypes.get_errno())
    try:
        if flags & new_user:
            write("/proc/self/setgroups", "deny")
            write("/proc/self/uid_map", f"{uid} {uid} 1")
            write("/proc/self/gid_map", f"{gid} {gid} 1")
        set_interface_flags, up_and_running = 0x8914, 0x41
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, set_interface_flags, struct.pack("16sH22x", b"lo", up_and_running))
    except OSError as error:
        raise SystemExit(f"the new network namespace stays without loopback: {error}") from error
    return None


def write(path, text):
    """Replaces a file's content; returns its path."""
    with open(path, "w", encoding="utf8") as file:
        file.write(text)
    return path


def free_ports(count):
    """Ports of 127.0.0.1 that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def end_on_signals():
    """SIGTERM ends the run as Ctrl-C does: through every `finally`."""
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


class Process:
    """A program on one CPU. Its answers to `cpu` and `resident` count its children too (nginx's worker)."""

    def __init__(self, argv, cpu, directory):
        self.log = os.path.join(directory, f"{os.path.basename(argv[0])}-{time.monotonic_ns()}.log")

        def settle():
            death_signal = 1
            LIBC.prctl(death_signal, signal.SIGTERM)
            os.sched_setaffinity(0, {cpu})

        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, cwd=directory,
                preexec_fn=settle, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def pids(self):
        found = [self.child.pid]
        for pid in found:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                        found += map(int, children.read().split())
            except (FileNotFoundError, ProcessLookupError) as gone:
                raise Invalid(f"a process died: {self.said()}") from gone
        return found

    def cpu(self):
        """Seconds of user and of system time so far, all threads."""
        user = system = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat", encoding="utf8") as stat:
                fields = stat.read().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return user / TICK, system / TICK

    def waited(self):
        """Seconds that its threads were ready and others had its CPU; 0 where the kernel does not say."""
        waited = 0
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                try:
                    with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as schedstat:
                        waited += int(schedstat.read().split()[1])
                except FileNotFoundError:
                    pass
        return waited / 1e9

    def resident(self, field="VmRSS"):
        """Bytes of resident memory now; with `VmHWM` at their peak."""
        return sum(self._status(pid, field) for pid in self.pids()) * 1024

    def forget_peak(self):
        """The peak starts again from what is resident now."""
        for pid in self.pids():
            write(f"/proc/{pid}/clear_refs", "5")

    def said(self):
        """The end of what it wrote to standard error."""
        with open(self.log, encoding="utf8", errors="replace") as log:
            return log.read()[-600:].strip() or "no message"

    def stop(self):
        """Asks, waits a second, then kills the whole group."""
        self.child.terminate()
        try:
            self.child.wait(1)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait(5)

    @staticmethod
    def _status(pid, field):
        with open(f"/proc/{pid}/status", encoding="utf8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def get(port, path="/", host=HOST):
    """Status and body of one small exchange on its own connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def get_h2(port, path="/", host=HOST):
    """Status and body of one small exchange over HTTP/2 with prior knowledge."""
    said = subprocess.run(["nghttp", "-s", "-t5", "-H", f":authority: {host}", f"http://127.0.0.1:{port}{path}"],
                          capture_output=True, timeout=30, check=False)
    body, _, statistics = said.stdout.partition(b"***** Statistics *****\n")
    code = re.search(rb" (\d{3}) +\S+ \S+\s*$", statistics)
    if not code:
        raise ConnectionError(f"no answer over HTTP/2: {said.stderr.decode(errors='replace').strip()[-200:]}")
    return int(code[1]), body


def wait_listening(process, port, seconds=15):
    """Waits for somebody at a port who says nothing to strangers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.child.poll() is not None:
            raise Invalid(f"exited with {process.child.returncode}: {process.said()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Invalid(f"does not listen after {seconds} s; {process.said()}")


def wait_ready(process, port, path, size, host=HOST, seconds=15, ask=get):
    """Waits for a 200 with `size` bytes; a wrong answer after that time, or a dead process, is an error."""
    end, last = time.monotonic() + seconds, "nothing"
    while time.monotonic() < end:
        if process.child.poll() is not None:
            raise Invalid(f"exited with {process.child.returncode}: {process.said()}")
        try:
            status, body = ask(port, path, host)
            if status == 200 and len(body) == size:
                return
            last = f"{status} with {len(body)} bytes"
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        time.sleep(0.02)
    raise Invalid(f"not ready after {seconds} s, last: {last}; {process.said()}")
