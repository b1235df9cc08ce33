"""What does each proxy do to contain a fault, where all of it is on? The nearest equivalents in each one's words.

A breaker or its like, passive and active health, limits with a queue, a rate limit by caller, retries from a budget where
there is one, metrics. Nothing of it strikes during a sample: the figures are the price of being ready.
"""

RATE = 1_000_000


def outrigger():
    """Of the upstream, and a policy of its own. Ejection, budget and metrics are on without a word."""
    return """circuitBreaker: {scope: both, window: 10s, failureRate: 50%, minRequests: 20, consecutive: 7}
outlierDetection: {consecutiveFailures: 7}
healthCheck: {http: /, interval: 2s, timeout: 1s, unhealthyAfter: 3, healthyAfter: 2}
limits: {maxConnections: 256, maxRequests: 200, maxPending: 100, queueTimeout: 1s}
retryBudget: {percent: 20%, interval: 10s, minRate: 10/s}
""", f"""---
apiVersion: outrigger/v1
kind: RateLimitPolicy
name: callers
direction: outbound
perKey: [{{by: [source], rate: {RATE}/s}}]
"""


def haproxy(metrics):
    """Of the frontend, of the backend, of the server, and a page of metrics. It has neither budget nor breaker; its
    `observe` takes a server out after errors in a row."""
    return f"""  stick-table type ip size 10k expire 60s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {RATE} }}
""", """  option httpchk GET /
  option redispatch 1
  retries 2
  retry-on conn-failure empty-response 502 503 504
  timeout queue 1s
""", " check inter 2s fall 3 rise 2 observe layer7 error-limit 7 on-error mark-down maxconn 200 maxqueue 100", f"""
frontend metrics
  bind 127.0.0.1:{metrics}
  http-request use-service prometheus-exporter if {{ path /metrics }}
"""


def envoy(config, filters):
    """Completes a configuration. The rate limit is one for all callers: that is cheaper than one of each."""
    static = config["static_resources"]
    [cluster], [listener] = static["clusters"], static["listeners"]
    threshold = {"max_connections": 256, "max_requests": 200, "max_pending_requests": 100,
                 "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3}}
    cluster |= {
        "circuit_breakers": {"thresholds": [threshold]},
        "outlier_detection": {"consecutive_5xx": 7, "base_ejection_time": "1s", "max_ejection_percent": 50},
        "health_checks": [{"timeout": "1s", "interval": "2s", "unhealthy_threshold": 3, "healthy_threshold": 2,
                           "http_health_check": {"path": "/"}}],
    }
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    [route] = manager["route_config"]["virtual_hosts"][0]["routes"]
    route["route"]["retry_policy"] = {"retry_on": "connect-failure,reset,gateway-error", "num_retries": 2}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    manager["http_filters"].insert(0, {"name": "limit", "typed_config": {
        "@type": f"{filters}.http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "limit",
        "token_bucket": {"max_tokens": RATE, "tokens_per_fill": RATE, "fill_interval": "1s"},
        "filter_enabled": always, "filter_enforced": always}})
