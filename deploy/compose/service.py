"""What do the sidecars stand beside? A service that knows nothing of them: it answers GET, and may ask another for it.

PORT is where it listens. ASKS, if set, is whom it asks first; `http_proxy` says through whom, as most languages' clients
understand it.
"""

import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, said = 200, {"path": self.path}
        if os.environ.get("ASKS") and self.path != "/ping":
            status, said = ask(os.environ["ASKS"])
        content = json.dumps(said).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def ask(whom):
    try:
        with urllib.request.urlopen(whom, timeout=5) as answer:
            return 200, {"asked": whom, "answered": json.load(answer)}
    except urllib.error.HTTPError as error:
        return 502, {"asked": whom, "refused": error.headers.get("x-outrigger-reason", str(error))}
    except OSError as error:
        return 502, {"asked": whom, "failed": str(error)}


ThreadingHTTPServer((os.environ.get("HOST", ""), int(os.environ["PORT"])), Service).serve_forever()
