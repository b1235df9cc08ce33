"""What do several kinds of callers see at one time? Each calls from a process of its own, and none waits for another.

With one set of connections for all, those whose calls hang would hold what the others need, and a sidecar would be
blamed for its callers.
"""

import collections
import itertools
import multiprocessing
import time

from openloop import OpenLoop
from stage import LIBC

Kind = collections.namedtuple("Kind", "name port messages rate connections")
Note = collections.namedtuple("Note", "due seconds status word")


def message(host, path):
    """A GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: drill/1\r\nAccept: */*\r\n\r\n".encode()


class Noting(OpenLoop):
    """Notes what became of each request: when it was due, how long it took, its status, and what `word` says of it."""

    def __init__(self, kind, word, count):
        self.messages, self.word, self.notes, self.count = itertools.cycle(kind.messages), word, [], count
        super().__init__(kind.port, b"", kind.connections)

    def send(self, due, now):
        self.message = next(self.messages)
        super().send(due, now)

    def answered(self, connection, head):
        due, answer = connection.due, connection.buffer
        status = int(answer[9:12])
        self.note(due, status, self.word(status, answer[:head].lower(), answer[head:]))
        super().answered(connection, head)

    def drop(self, connection):
        if connection.due is not None:
            self.note(connection.due, 0, "dropped")
        super().drop(connection)

    def note(self, due, status, word):
        self.notes.append(Note(due / 1e9, (time.perf_counter_ns() - due) / 1e9, status, word))
        self.count.value += 1


class Callers:
    """All kinds, calling for `seconds` from now on."""

    def __init__(self, kinds, seconds, word=lambda status, head, body: ""):
        fork = multiprocessing.get_context("fork")
        self.counts, self.running = [fork.Value("q", 0, lock=False) for _ in kinds], []
        for kind, count in zip(kinds, self.counts):
            near, far = fork.Pipe(False)
            process = fork.Process(target=call, args=(kind, seconds, word, count, far), daemon=True)
            process.start()
            far.close()
            self.running.append((kind.name, process, near))

    def answers(self):
        return sum(count.value for count in self.counts)

    def notes(self):
        """Waits for the end; what each kind saw, by its name."""
        found = {name: [Note(*note) for note in near.recv()] for name, _, near in self.running}
        for _, process, _ in self.running:
            process.join(5)
        return found


def call(kind, seconds, word, count, far):
    """The life of a caller's process."""
    death_signal, kill = 1, 9
    LIBC.prctl(death_signal, kill)
    with open("/proc/self/timerslack_ns", "w", encoding="ascii") as slack:
        slack.write("1")
    loop = Noting(kind, word, count)
    loop.run(kind.rate, seconds)
    for connection in loop.open.values():
        if connection.due is not None:
            loop.note(connection.due, 0, "unanswered")
    now = time.perf_counter_ns()
    for _ in range(int(kind.rate * seconds) - len(loop.notes)):
        loop.note(now, 0, "never sent")
    far.send([tuple(note) for note in loop.notes])


def between(notes, begin, end):
    """Those that were due then."""
    return [note for note in notes if begin <= note.due < end]


def percentile(notes, percent):
    """Seconds, nearest rank; NaN of nothing."""
    ranked = sorted(note.seconds for note in notes)
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] if ranked else float("nan")


def share(notes, good=lambda note: note.status == 200):
    """How many of them are good, 0 to 1; NaN of nothing."""
    return sum(map(good, notes)) / len(notes) if notes else float("nan")


def busiest(times, begin, end, width=1.0):
    """The most that came within any `width` seconds between `begin` and `end`."""
    window, most = collections.deque(), 0
    for when in sorted(when for when in times if begin <= when < end):
        window.append(when)
        while when - window[0] >= width:
            window.popleft()
        most = max(most, len(window))
    return most


def table(columns, rows):
    """Columns that are as wide as they need be."""
    texts = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    for row in texts:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    print()
