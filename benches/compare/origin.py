"""What answers behind every proxy? nginx for bodies of all sizes, nghttpd over HTTP/2, a sink for uploads."""

import os
import re
import socket
import sys

from stage import LOAD_CPU, Process, get_h2, wait_ready, write

TINY = 100
BODY = 64 << 10
HUGE = 1 << 30


def user():
    """nginx's workers stay who we are, so that they may read our directory."""
    return "user root;" if os.geteuid() == 0 else ""


def config(directory, servers):
    """An nginx configuration around `server` blocks."""
    temporary = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""daemon off; {user()} worker_processes 1; pid {directory}/nginx.pid; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; tcp_nodelay on; {temporary}
  keepalive_timeout 600s; keepalive_requests 1000000000; client_max_body_size 0;
  {servers}
}}
"""


def start(binary, directory, port):
    """The HTTP/1.1 origin of all downloads, ready."""
    write(f"{directory}/64k", "x" * BODY)
    with open(f"{directory}/huge", "wb") as sparse:
        sparse.truncate(HUGE)
    path = write(f"{directory}/origin.conf", config(directory, f"""
  sendfile on; tcp_nopush on; open_file_cache max=8; default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = / {{ return 200 "{'o' * TINY}"; }}
    location / {{ root {directory}; }}
  }}"""))
    process = Process([binary, "-e", "stderr", "-c", path], LOAD_CPU, directory)
    try:
        wait_ready(process, port, "/", TINY)
        wait_ready(process, port, "/64k", BODY)
    except BaseException:
        process.stop()
        raise
    return process


def start_h2(binary, directory, port):
    """The HTTP/2 origin, ready. It takes 100 streams a connection, as most servers do."""
    root = os.path.join(directory, "h2")
    os.mkdir(root)
    write(f"{root}/index.html", "o" * TINY)
    process = Process([binary, "--no-tls", "--address=127.0.0.1", "--workers=1", "--max-concurrent-streams=100",
                       f"--htdocs={root}", str(port)], LOAD_CPU, directory)
    try:
        wait_ready(process, port, "/", TINY, ask=get_h2)
    except BaseException:
        process.stop()
        raise
    return process


def start_sink(directory, port):
    """Reads bodies as fast as they come and answers how many bytes there were."""
    process = Process([sys.executable, "-B", os.path.abspath(__file__), str(port)], LOAD_CPU, directory)
    try:
        wait_ready(process, port, "/", 1)
    except BaseException:
        process.stop()
        raise
    return process


def sink(port):
    """Serves one connection at a time: a body with Content-Length, or none."""
    buffer = memoryview(bytearray(1 << 20))
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        peer, _ = listener.accept()
        with peer:
            swallow(peer, buffer)


def swallow(peer, buffer):
    head = b""
    while b"\r\n\r\n" not in head:
        data = peer.recv(65536)
        if not data:
            return
        head += data
    announced = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    wanted = int(announced[1]) if announced else 0
    got = len(head) - head.index(b"\r\n\r\n") - 4
    while got < wanted:
        count = peer.recv_into(buffer)
        if not count:
            return
        got += count
    answer = str(got)
    peer.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n{answer}".encode())


if __name__ == "__main__":
    sink(int(sys.argv[1]))
