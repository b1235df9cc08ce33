"""What came out? Medians, ratios within a round, and the targets beside them."""

import statistics

OURS = "outrigger"
TITLES = {
    "get": "get: tiny GET, 64 keep-alive connections, saturation",
    "guarded": "guarded: the same with breaker, ejection, health checks, limits, rate limit and retries on",
    "rate": "rate: tiny GET, 64 keep-alive connections, 3,000 requests/s, open loop",
    "64k": "64k: 64 KiB responses, 64 keep-alive connections, saturation",
    "h2": "h2: tiny GET, 8 HTTP/2 connections x 16 streams, saturation; HTTP/2 to the origin",
    "h2-h1": "h2-h1: the same, HTTP/1.1 to the origin",
    "mtls": "mtls: tiny GET as in get, through two sidecars with HTTP/1.1 in mutual TLS between them; both together",
    "mtls-h1-in-h2": "mtls-h1-in-h2: the load of mtls with HTTP/2 between the two sidecars",
    "mtls-rate": "mtls-rate: 3,000 requests/s, evenly spaced, through two sidecars with HTTP/1.1 in mutual TLS",
    "mtls-rate-in-h2": "mtls-rate-in-h2: the same with HTTP/2 between the two sidecars",
    "mtls-h2": "mtls-h2: tiny GET as in h2, through two sidecars with HTTP/2 in mutual TLS between them; both together",
    "mtls-h2-in-h1": "mtls-h2-in-h1: the load of mtls-h2 with HTTP/1.1 between the two sidecars",
    "handshakes": "handshakes: full handshakes with both certificates, one connection after the other; a handshake each",
    "memory": "memory: resident after start; per idle client connection, of 5,000",
    "big": "big: 1 GiB through outbound -> inbound -> origin; peak growth of both processes together",
}
# Scenario, figure, against whom (None: absolute), at most.
TARGETS = [
    ("get", "cpu_us", "haproxy", 1.00), ("get", "cpu_us", "envoy", 0.36),
    ("guarded", "cpu_us", "haproxy", 1.00), ("guarded", "cpu_us", "envoy", 0.36), ("rate", "cpu_us", "haproxy", 1.05),
    ("64k", "cpu_us", "haproxy", 0.95), ("h2", "cpu_us", "envoy", 0.70),
    ("mtls", "cpu_us", "haproxy", 0.95), ("mtls", "cpu_us", "envoy", 0.36), ("mtls-h2", "cpu_us", "envoy", 0.60),
    ("handshakes", "cpu_us", "haproxy", 1.00), ("handshakes", "cpu_us", "envoy", 1 / 0.7),
    ("memory", "start_mib", None, 10), ("memory", "connection_kib", None, 12), ("big", "download_mib", None, 8),
    ("big", "upload_mib", None, 8),
]
COLUMNS = {
    "cpu_us": ("µs/request", "{:.1f}"), "user_us": ("of it user", "{:.1f}"), "rps": ("requests/s", "{:,.0f}"),
    "mean_us": ("mean µs", "{:,.0f}"), "p50_us": ("p50 µs", "{:,.0f}"), "p99_us": ("p99 µs", "{:,.0f}"),
    "late_us": ("sent late p99", "{:,.0f}"), "busy": ("CPU busy", "{:.0%}"), "waited": ("waited", "{:.0%}"),
    "start_mib": ("start MiB", "{:.1f}"), "connection_kib": ("KiB/connection", "{:.1f}"),
    "download_mib": ("download MiB", "{:.1f}"), "download_seconds": ("s", "{:.1f}"),
    "upload_mib": ("upload MiB", "{:.1f}"), "upload_seconds": ("s", "{:.1f}"),
}


def summarise(samples):
    """{scenario: {proxy: {figure: median, "ratio": {other: median of the rounds' ratios}}}} of {scenario: [round]}."""
    return {scenario: {name: figures_of(name, rounds) for name in dict.fromkeys(n for r in rounds for n in r)}
            for scenario, rounds in samples.items()}


def figures_of(name, rounds):
    mine = [r[name] for r in rounds if name in r]
    figures = {key: statistics.median(sample[key] for sample in mine) for key in mine[0]}
    figures["rounds"] = len(mine)
    if "cpu_us" in figures:
        others = dict.fromkeys(n for r in rounds for n in r if n != name)
        pairs = {other: [r[name]["cpu_us"] / r[other]["cpu_us"] for r in rounds if name in r and other in r]
                 for other in others}
        figures["ratio"] = {other: statistics.median(ratios) for other, ratios in pairs.items() if ratios}
    return figures


def judge(summary, scenarios):
    """One verdict a target of the scenarios that ran: met, missed, or not measured."""
    verdicts = []
    for scenario, figure, against, most in TARGETS:
        if scenario not in scenarios:
            continue
        mine = summary.get(scenario, {}).get(OURS, {})
        value = mine.get("ratio", {}).get(against) if against else mine.get(figure)
        state = "not measured" if value is None else "met" if value <= most else "missed"
        verdicts.append({"scenario": scenario, "figure": figure, "against": against, "most": most, "value": value,
                         "state": state})
    return verdicts


def table(scenario, proxies, base):
    """The scenario's medians as text; the last column divides `base` by the row's proxy, round by round."""
    keys = [key for key in COLUMNS if any(key in figures for figures in proxies.values())]
    ratios = "cpu_us" in keys and base in proxies
    rows = [["", *(COLUMNS[key][0] for key in keys), *([f"{base} ÷ it"] if ratios else [])]]
    for name, figures in proxies.items():
        row = [name, *(COLUMNS[key][1].format(figures[key]) for key in keys)]
        if ratios:
            ratio = proxies[base]["ratio"].get(name)
            row.append("-" if ratio is None else f"{ratio:.2f}")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
             for row in rows]
    count = max(figures["rounds"] for figures in proxies.values())
    return "\n".join([f"{TITLES[scenario]} ({count} round{'s' * (count > 1)})", *lines])


def verdict_line(verdict):
    against = f" x {verdict['against']}" if verdict["against"] else ""
    value = "-" if verdict["value"] is None else f"{verdict['value']:.2f}"
    label = COLUMNS[verdict["figure"]][0]
    target = f"target <= {verdict['most']:g}{against}"
    return f"{verdict['state']:>12}  {verdict['scenario']}: {label} {value}{against}, {target}"
