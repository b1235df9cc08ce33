"""Is a connection that stopped being HTTP still there? WebSockets that are held open while a drill goes on (RFC 6455)."""

import base64
import hashlib
import os
import socket
import threading

from stage import Invalid

PATIENCE = 5.0
TEXT = 0x81


class Server(threading.Thread):
    """A WebSocket server on a port of its own that gives back each message."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=serve, args=(stream,), daemon=True).start()


class Held(threading.Thread):
    """WebSockets to `host` through the sidecar at `port`, each with a message every `period` seconds that must come back."""

    def __init__(self, port, host, count, period=0.5):
        super().__init__(daemon=True)
        self.streams, self.period = [connect(port, host) for _ in range(count)], period
        self.messages, self.dropped, self.halt = 0, [], threading.Event()

    def run(self):
        while not self.halt.wait(self.period):
            for stream in list(self.streams):
                try:
                    self.exchange(stream)
                except (OSError, Invalid) as error:
                    self.dropped.append(str(error) or repr(error))
                    self.streams.remove(stream)

    def exchange(self, stream):
        said = b"message %d" % self.messages
        mask = os.urandom(4)
        stream.sendall(bytes([TEXT, 0x80 | len(said)]) + mask + masked(said, mask))
        heard = exactly(stream, 2 + len(said))
        if heard != bytes([TEXT, len(said)]) + said:
            raise Invalid(f"{heard!r} came back for {said!r}")
        self.messages += 1

    def end(self):
        """Stops talking, and hangs up."""
        self.halt.set()
        self.join(PATIENCE)
        for stream in self.streams:
            stream.close()


def connect(port, host):
    """A WebSocket that the server has accepted."""
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall((f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                    f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n").encode())
    status, *fields = head(stream)
    if " 101 " not in status or f"sec-websocket-accept: {accept(key)}" not in fields:
        raise Invalid(f"no WebSocket: {status} {fields}")
    return stream


def serve(stream):
    """One connection, to its end."""
    try:
        key = next(field.partition(": ")[2] for field in head(stream) if field.startswith("sec-websocket-key:"))
        stream.sendall(("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                        f"sec-websocket-accept: {accept(key)}\r\n\r\n").encode())
        while True:
            length = exactly(stream, 2)[1] & 0x7f
            mask = exactly(stream, 4)
            said = masked(exactly(stream, length), mask)
            stream.sendall(bytes([TEXT, length]) + said)
    except (OSError, Invalid, StopIteration):
        stream.close()


def head(stream):
    """The lines of a head, the names of fields in lower case."""
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        text += exactly(stream, 1)
    start, *fields = text.decode("latin1").strip().split("\r\n")
    return [start] + [": ".join((name.lower(), value.strip())) for name, _, value in (f.partition(":") for f in fields)]


def exactly(stream, count):
    octets = b""
    while len(octets) < count:
        more = stream.recv(count - len(octets))
        if not more:
            raise Invalid("the connection was closed")
        octets += more
    return octets


def masked(octets, mask):
    return bytes(octet ^ mask[nth % 4] for nth, octet in enumerate(octets))


def accept(key):
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()
