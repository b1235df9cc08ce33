-- What does wrk send, and how does it report? Ten header fields; one line of JSON at the end.

wrk.headers = {
  ["Host"] = "bench.local",
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  ["Accept"] = "application/json,text/plain;q=0.9,*/*;q=0.8",
  ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
  ["Accept-Encoding"] = "identity",
  ["Cookie"] = "session=6f1c9e0a7b5d4c3e; theme=dark; seen=1",
  ["Referer"] = "http://bench.local/items",
  ["Cache-Control"] = "no-cache",
  ["X-Tenant"] = "simplebank",
  ["X-Client-Version"] = "4.18.2",
}

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.1f, "p99": %.1f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
