"""Who competes, and as whom would a user run it? Each proxy's binary and its configuration as a sidecar."""

import importlib.util
import json
import os
import shutil
import subprocess
from dataclasses import dataclass

import guards
import mtls
import origin
from stage import HOST, PROXY_CPU, Process, free_ports, get, get_h2, wait_listening, wait_ready, write


@dataclass
class Hop:
    """One proxy process: where it listens, whom it calls, on which side of a service it stands.

    `request_timeout` is set where the usual one would cut a huge body. `down` and `up`: what its callers and whom it
    calls speak, `http1` or `http2` with prior knowledge. `guarded`: all that contains a fault is on.
    `certificates`: where `mtls.issue` put them, if the side that faces the other proxy is to speak mutual TLS, with
    `inside` in it.
    """

    listen: int
    to: int
    side: str = "outbound"
    request_timeout: str = ""
    down: str = "http1"
    up: str = "http1"
    guarded: bool = False
    certificates: str = ""

    @property
    def ask(self):
        """How its callers ask: `ask(port, path)` gives status and body."""
        return get_h2 if self.down == "http2" else get

    @property
    def inside(self):
        return self.down if self.side == "inbound" else self.up


@dataclass
class Proxy:
    """A found binary; `command(binary, hop, directory)` writes its configuration and gives its arguments."""

    name: str
    binary: str
    version: str
    command: object

    def start(self, hop, directory, path="/", size=origin.TINY):
        """A fresh process on the proxies' CPU, answering."""
        process = Process(self.command(self.binary, hop, directory), PROXY_CPU, directory)
        try:
            if hop.certificates and hop.side == "inbound":
                wait_listening(process, hop.listen)
            else:
                wait_ready(process, hop.listen, path, size, ask=hop.ask)
        except BaseException:
            process.stop()
            raise
        return process


def find(name, given=None):
    """The proxy of this name, or None when it is not installed."""
    command, version = {"outrigger": (outrigger, "--version"), "haproxy": (haproxy, "-v"), "nginx": (nginx, "-v"),
                        "envoy": (envoy, "--version")}[name]
    binary = given or (find_envoy() if name == "envoy" else find_system(name))
    if not binary or not shutil.which(binary):
        return None
    said = subprocess.run([binary, version], capture_output=True, text=True, timeout=10, check=False)
    first = ((said.stdout + said.stderr).strip().splitlines() or ["?"])[0].strip()
    return Proxy(name, os.path.abspath(shutil.which(binary)), first.rpartition("version: ")[2], command)


def find_system(name):
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def find_envoy():
    """$ENVOY_BIN, then the Python package `envoy`, then PATH."""
    package = importlib.util.find_spec("envoy")
    places = package.submodule_search_locations or [] if package else []
    packed = filter(os.path.exists, (os.path.join(place, "_bin", "envoy") for place in places))
    return os.environ.get("ENVOY_BIN") or next(packed, None) or shutil.which("envoy")


def outrigger(binary, hop, directory):
    """Retries, budget, timeouts, deadline, metrics and the sampled access log are on."""
    admin, metrics = free_ports(2)
    of_upstream, of_callers = guards.outrigger() if hop.guarded else ("", "")
    identity, of_port, trust = mtls.outrigger(hop) if hop.certificates else ("", "", "")
    until_head = hop.request_timeout or "1s"
    side = {
        "outbound": f"outbound: {{listen: 127.0.0.1:{hop.listen}, capture: explicit, unknown: reject}}",
        "inbound": f"inbound: [{{port: {hop.listen}, listen: 127.0.0.1:{hop.listen}, "
                   f"forwardTo: 127.0.0.1:{hop.to}, protocol: {hop.up}{of_port}}}]",
    }[hop.side]
    policy = f"""apiVersion: outrigger/v1
kind: Sidecar
name: bench
workers: 1
{identity}{side}
admin: {{listen: 127.0.0.1:{admin}, metrics: 127.0.0.1:{metrics}}}
"""
    if hop.side == "outbound":
        policy += f"""---
apiVersion: outrigger/v1
kind: Upstream
name: origin
hosts: [{HOST}]
discovery: {{static: [127.0.0.1:{hop.to}]}}
protocol: {hop.up}
{trust}{of_upstream}---
apiVersion: outrigger/v1
kind: HTTPRoute
name: bench
hosts: [{HOST}]
rules:
  - name: all
    matches: [{{path: {{type: PathPrefix, value: /}}}}]
    backendRefs: [{{name: origin}}]
    timeouts: {{request: {hop.request_timeout or "2s"}, responseHeaders: {until_head}}}
    retry: {{on: [connect-failure, reset, gateway-error], attempts: 2}}
{of_callers}"""
    return [binary, "run", "--config", write(f"{directory}/outrigger-{hop.listen}.yaml", policy)]


def haproxy(binary, hop, directory):
    speaks = {"http1": "", "http2": " proto h2"}
    of_front, of_back, of_server, page = guards.haproxy(*free_ports(1)) if hop.guarded else ("", "", "", "")
    bound, trusted = mtls.haproxy(hop) if hop.certificates else ("", "")
    return [binary, "-db", "-f", write(f"{directory}/haproxy-{hop.listen}.cfg", f"""global
  nbthread 1
  maxconn 8000
defaults
  mode http
  option forwardfor
  http-reuse always
  retries 1
  retry-on conn-failure
  timeout connect 1s
  timeout http-request 10s
  timeout client 60s
  timeout server 15s
frontend in
  bind 127.0.0.1:{hop.listen} backlog 4096{speaks[hop.down]}{bound}
{of_front}  default_backend origin
backend origin
{of_back}  server origin 127.0.0.1:{hop.to}{speaks[hop.up]}{trusted}{of_server}
{page}""")]


def nginx(binary, hop, directory):
    directory = os.path.join(directory, f"nginx-{hop.listen}")
    os.mkdir(directory)
    path = write(f"{directory}/nginx.conf", origin.config(directory, f"""
  upstream origin {{
    server 127.0.0.1:{hop.to};
    keepalive 128; keepalive_requests 1000000000; keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{hop.listen} backlog=4096{' http2' if hop.down == 'http2' else ''};
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_connect_timeout 1s; proxy_read_timeout 15s; proxy_send_timeout 15s; proxy_next_upstream_tries 2;
      proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}"""))
    return [binary, "-e", "stderr", "-c", path]


def envoy(binary, hop, directory):
    api = "type.googleapis.com/envoy.extensions.filters"
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    route = {"match": {"prefix": "/"}, "route": {
        "cluster": "origin", "timeout": hop.request_timeout or "15s",
        "retry_policy": {"retry_on": "connect-failure", "num_retries": 1}}}
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{api}.http.router.v3.Router"}}],
    }
    cluster = {"name": "origin", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
        "cluster_name": "origin", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(hop.to)}}]}]}}
    if hop.up == "http2":
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {options: {
            "@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}}
    config = {"static_resources": {
        "listeners": [{"name": "in", "address": address(hop.listen), "filter_chains": [{"filters": [
            {"name": "http", "typed_config": manager}]}]}],
        "clusters": [cluster],
    }}
    if hop.guarded:
        guards.envoy(config, api)
    if hop.certificates:
        mtls.envoy(hop, config)
    path = write(f"{directory}/envoy-{hop.listen}.json", json.dumps(config))
    return [binary, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", path]
