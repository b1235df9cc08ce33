//! What does each family mean? Names, help and rows of all that a scrape shows (DESIGN §7).

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use prometheus::core::Collector;

use super::route::{Acted, word_of};
use super::scrape::Scrape;
use super::series::{OVERFLOW, Series};
use super::{
    CacheMetrics, ConnectionMetrics, ExchangeMetrics, Fill, Metrics, Protocol, RouteMetrics, Side,
    UpstreamMetrics,
};

impl Metrics {
    /// All families, in a stable order.
    pub(super) fn scrape(&self) -> Scrape {
        let mut scrape = Scrape::default();
        self.exchange_families(&mut scrape);
        self.connection_families(&mut scrape);
        self.upstream_families(&mut scrape);
        self.guard_families(&mut scrape);
        self.rate_limit_families(&mut scrape);
        self.authorization_families(&mut scrape);
        self.route_families(&mut scrape);
        self.cache_families(&mut scrape);
        self.downstream_families(&mut scrape);
        self.process_families(&mut scrape);
        scrape
    }

    fn sides(&self) -> [(&'static str, &Side); 2] {
        [("inbound", &self.inbound), ("outbound", &self.outbound)]
    }

    fn visit_exchanges(&self, mut visitor: impl FnMut([(&str, &str); 3], &ExchangeMetrics)) {
        for (direction, side) in self.sides() {
            side.exchanges.visit(|(route, upstream), exchange, _| {
                visitor([("direction", direction), ("route", route), ("upstream", upstream)], exchange);
            });
        }
    }

    fn exchange_families(&self, scrape: &mut Scrape) {
        scrape.counters(
            "requests_total",
            "Exchanges ended, by the status that the caller saw (0: none) and Envoy's response flag.",
            |row| {
                self.visit_exchanges(|[direction, route, upstream], exchange| {
                    let mut coded = |code: &str, flag: &str, count| {
                        row(&[direction, route, upstream, ("code", code), ("flag", flag)], count);
                    };
                    for ((code, flag), count) in exchange.codes.iter() {
                        coded(&code.to_string(), flag.as_str(), count);
                    }
                    if let Some(count) = exchange.codes.overflowed() {
                        coded(OVERFLOW, OVERFLOW, count);
                    }
                });
            },
        );
        scrape.histograms(
            "request_duration_seconds",
            "From a request's head to the last byte of its answer, retries included.",
            |row| self.visit_exchanges(|labels, exchange| row(&labels, exchange.durations.get())),
        );
    }

    fn visit_connections(&self, mut visitor: impl FnMut([(&str, &str); 3], &ConnectionMetrics)) {
        for (direction, side) in self.sides() {
            side.connections.visit(|(route, upstream), connections, _| {
                visitor([("direction", direction), ("route", route), ("upstream", upstream)], connections);
            });
        }
    }

    fn connection_families(&self, scrape: &mut Scrape) {
        let help = "Opaque connections ended, by Envoy's response flag.";
        scrape.counters("tcp_connections_total", help, |row| {
            self.visit_connections(|[direction, route, upstream], of| {
                let ended = of.ended.iter().map(|(flag, count)| (flag.as_str(), count));
                for (flag, count) in ended.chain(of.ended.overflowed().map(|count| (OVERFLOW, count))) {
                    row(&[direction, route, upstream, ("flag", flag)], count);
                }
            });
        });
        let help = "Octets that opaque connections brought from downstreams.";
        scrape.counters("tcp_received_bytes_total", help, |row| {
            self.visit_connections(|labels, of| row(&labels, of.received.get()));
        });
        let help = "Octets that opaque connections took to downstreams.";
        scrape.counters("tcp_sent_bytes_total", help, |row| {
            self.visit_connections(|labels, of| row(&labels, of.sent.get()));
        });
    }

    fn upstream_families(&self, scrape: &mut Scrape) {
        let mut by_word = |name, help, label, series: fn(&UpstreamMetrics) -> &Series<&'static str>| {
            scrape.counters(name, help, |row| {
                self.upstreams.visit(|upstream, metrics, _| {
                    words(series(metrics), |word, count| {
                        row(&[("upstream", upstream), (label, word)], count);
                    });
                });
            });
        };
        by_word("attempts_total", "Attempts ended, retries included.", "outcome", |of| &of.attempts);
        by_word("retries_total", "Attempts after the first, by what caused them.", "cause", |of| &of.retries);
        let help = "Retries that were wanted and not made, by what stood against them.";
        by_word("retries_refused_total", help, "reason", |of| &of.refused);
        by_word("dns_refreshes_total", "Answers of the resolver.", "result", |of| &of.dns);
        scrape.counters(
            "stale_connections_total",
            "Idle connections that turned out closed when they were used.",
            |row| self.upstreams.visit(|name, of, _| row(&[("upstream", name)], of.stale.get())),
        );
        scrape.gauges("endpoints", "Endpoints known now.", |row| {
            self.visit_live_upstreams(|name, of| row(&[name], of.endpoints.load(Relaxed)));
        });
        scrape.gauges("pending_requests", "Requests that wait for a connection.", |row| {
            self.visit_live_upstreams(|name, of| row(&[name], of.pending.get()));
        });
        scrape.counters(
            "paced_total",
            "Requests to an upstream whose answers tell how fast it may be asked.",
            |row| {
                self.upstreams.visit(|upstream, of, _| {
                    acts(&of.paced, |decision, mode, count| {
                        row(&[("upstream", upstream), ("mode", mode), ("decision", decision)], count);
                    });
                });
            },
        );
        scrape.gauges("pace_now", "Requests a second that pass; no row: as many as come.", |row| {
            self.visit_live_upstreams(|name, of| {
                Some(of.pace.load(Relaxed))
                    .filter(|pace| *pace > 0)
                    .into_iter()
                    .for_each(|pace| row(&[name], pace));
            });
        });
        self.fill_families(scrape);
    }

    fn fill_families(&self, scrape: &mut Scrape) {
        let mut family = |name, help, value: fn(&Fill) -> &AtomicU32| {
            scrape.gauges(name, help, |row| {
                self.visit_live_upstreams(|name, of| {
                    for (limit, fills) in [("requests", &of.requests), ("connections", &of.connections)] {
                        if let Some(sum) = fills.sum(value) {
                            row(&[name, ("limit", limit)], sum);
                        }
                    }
                });
            });
        };
        family("limit_in_flight", "How much of a limit is taken now.", |fill| &fill.inside);
        family("limit_waiting", "Requests that wait for a place within a limit.", |fill| &fill.waiting);
        family("limit_now", "The limit, which may adapt itself.", |fill| &fill.limit);
    }

    fn rate_limit_families(&self, scrape: &mut Scrape) {
        let help = "What rate limit policies decided, or in a dry run would have.";
        scrape.counters("rate_limit_decisions_total", help, |row| {
            self.rate_limits.visit(|(policy, mode), of, _| {
                words(&of.decisions, |decision, count| {
                    row(&[("policy", policy), ("mode", mode), ("decision", decision)], count);
                });
            });
        });
        let help = "Answers of the store that counts a limit for all replicas; `late`: not within a request's patience.";
        scrape.counters("rate_limit_store_total", help, |row| {
            self.rate_limits.visit(|(policy, mode), of, _| {
                words(&of.store, |result, count| {
                    row(&[("policy", policy), ("mode", mode), ("result", result)], count);
                });
            });
        });
        let help = "Requests decided by the replica's own share of such a limit, since the store was away.";
        scrape.counters("rate_limit_local_total", help, |row| {
            self.rate_limits.visit(|(policy, mode), of, _| {
                if of.store.iter().next().is_some() {
                    row(&[("policy", policy), ("mode", mode)], of.local.get());
                }
            });
        });
        let mut family = |name, help, value: fn(&Fill) -> &AtomicU32| {
            scrape.gauges(name, help, |row| {
                self.rate_limits.visit(|(policy, mode), of, live| {
                    if live && let Some(sum) = of.places.sum(value) {
                        row(&[("policy", policy), ("mode", mode)], sum);
                    }
                });
            });
        };
        family("rate_limit_in_flight", "Requests in flight under a policy.", |fill| &fill.inside);
        family("rate_limit_waiting", "Requests that wait for a place under a policy.", |fill| &fill.waiting);
        family("rate_limit_now", "Requests that may be in flight under a policy.", |fill| &fill.limit);
    }

    fn authorization_families(&self, scrape: &mut Scrape) {
        let help = "What authorization policies decided, or in a dry run would have.";
        scrape.counters("authorization_decisions_total", help, |row| {
            self.authorization.visit(|(policy, mode), of, _| {
                for (decision, counter) in [("allowed", &of.allowed), ("denied", &of.denied)] {
                    row(&[("policy", policy), ("mode", mode), ("decision", decision)], counter.get());
                }
            });
        });
    }

    fn route_families(&self, scrape: &mut Scrape) {
        let mut acted = |name, help, series: fn(&RouteMetrics) -> &Series<Acted>| {
            scrape.counters(name, help, |row| {
                self.routes.visit(|route, of, _| {
                    acts(series(of), |kind, mode, count| {
                        row(&[("route", route), ("kind", kind), ("mode", mode)], count);
                    });
                });
            });
        };
        let help = "Requests for which something stood in for an upstream that failed.";
        acted("fallbacks_total", help, |of| &of.fallbacks);
        acted("faults_injected_total", "Faults injected on purpose.", |of| &of.faults);
    }

    fn cache_families(&self, scrape: &mut Scrape) {
        let help = "Requests to an upstream with a cache, by what it had.";
        scrape.counters("cache_requests_total", help, |row| {
            self.caches.visit(|upstream, of, _| {
                acts(&of.looks, |result, mode, count| {
                    row(&[("upstream", upstream), ("result", result), ("mode", mode)], count);
                });
            });
        });
        let help = "Responses that a cache let go for want of room.";
        scrape.counters("cache_evictions_total", help, |row| {
            self.caches.visit(|upstream, of, _| row(&[("upstream", upstream)], of.evicted.load(Relaxed)));
        });
        let mut family = |name, help, value: fn(&CacheMetrics) -> &AtomicI64| {
            scrape.gauges(name, help, |row| {
                self.caches.visit(|upstream, of, live| {
                    if live {
                        row(&[("upstream", upstream)], value(of).load(Relaxed));
                    }
                });
            });
        };
        family("cache_entries", "Responses that a cache holds.", |of| &of.entries);
        family("cache_bytes", "What they take, heads included.", |of| &of.bytes);
    }

    pub(super) fn visit_live_upstreams(&self, mut visitor: impl FnMut((&str, &str), &UpstreamMetrics)) {
        self.upstreams.visit(|name, metrics, live| {
            if live {
                visitor(("upstream", name), metrics);
            }
        });
    }

    fn downstream_families(&self, scrape: &mut Scrape) {
        scrape.gauges("connections_active", "Downstream connections open now.", |row| {
            for (direction, side) in self.sides() {
                for protocol in Protocol::ALL {
                    let labels = [("direction", direction), ("protocol", protocol.as_str())];
                    row(&labels, side.downstream.active[protocol as usize].get());
                }
            }
        });
        scrape.counters("connections_total", "Downstream connections accepted.", |row| {
            for (direction, side) in self.sides() {
                row(&[("direction", direction)], side.downstream.accepted.get());
            }
        });
        scrape.counters("connections_refused_total", "Downstream connections turned away.", |row| {
            for (direction, side) in self.sides() {
                words(&side.downstream.refused, |reason, count| {
                    row(&[("direction", direction), ("reason", reason)], count);
                });
            }
        });
        let help =
            "Handshakes of TLS with callers (inbound) and with upstreams (outbound), by how they ended.";
        scrape.counters("tls_handshakes_total", help, |row| {
            for (direction, side) in self.sides() {
                words(&side.handshakes, |result, count| {
                    row(&[("direction", direction), ("result", result)], count);
                });
            }
        });
        let help = "Connections that showed what they speak, by that; `timeout`: not soon enough.";
        scrape.counters("detections_total", help, |row| {
            for (direction, side) in self.sides() {
                words(&side.downstream.detections, |result, count| {
                    row(&[("direction", direction), ("result", result)], count);
                });
            }
        });
        let help = "Downstream connections that ended since their peer is believed no more.";
        scrape.counters("tls_distrusted_total", help, |row| {
            for (direction, side) in self.sides() {
                words(&side.downstream.distrusted, |reason, count| {
                    row(&[("direction", direction), ("reason", reason)], count);
                });
            }
        });
        scrape.counters("protocol_errors_total", "Faults of downstream peers in their protocol.", |row| {
            for (direction, side) in self.sides() {
                words(&side.downstream.protocol_errors, |reason, count| {
                    row(&[("direction", direction), ("reason", reason)], count);
                });
            }
        });
    }

    fn process_families(&self, scrape: &mut Scrape) {
        scrape.counters("limit_exceeded_total", "Limits hit, by their name in the policy files.", |row| {
            words(&self.limits, |limit, count| row(&[("limit", limit)], count));
        });
        scrape.counters("deadline_exceeded_total", "Deadlines passed, by what was waited for.", |row| {
            words(&self.deadlines, |place, count| row(&[("where", place)], count));
        });
        let mut plain = |name, help, count| scrape.counters(name, help, |row| row(&[], count));
        plain("connection_panics_total", "Panics that ended one connection.", self.panics.get());
        let help = "Lines that the access log did not write: over the byte cap, or the reader too slow.";
        plain("access_log_dropped_total", help, self.access_log_dropped.get());
        let help = "Times that the cap on series made a label value count as `overflow`.";
        plain("series_dropped_total", help, self.cap.dropped());
        scrape.counters("config_reloads_total", "Configurations read, by result.", |row| {
            row(&[("result", "loaded")], self.config.loaded.get());
            row(&[("result", "rejected")], self.config.rejected.get());
        });
        let mut plain = |name, help, value| scrape.gauges(name, help, |row| row(&[], value));
        plain("config_generation", "The running generation.", self.config.generation.load(Relaxed));
        let help = "Whether what runs is what the files say: 1 or 0.";
        plain("config_in_sync", help, self.config.in_sync.load(Relaxed).into());
        let help = "When the running generation was loaded, in Unix time.";
        plain("config_last_reload_success_timestamp_seconds", help, self.config.loaded_at.load(Relaxed));
        self.identity.families(scrape);
        scrape.gauges("build_info", "Always 1; the label says what runs.", |row| {
            row(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        });
        scrape.ready(self.process.collect());
    }
}

/// Each word and mode with their count, the overflow last.
fn acts(series: &Series<Acted>, mut row: impl FnMut(&str, &str, u64)) {
    for ((word, mode), count) in series.iter() {
        row(word, word_of(mode), count);
    }
    if let Some(count) = series.overflowed() {
        row(OVERFLOW, OVERFLOW, count);
    }
}

/// Each word with its count, the overflow last.
pub(super) fn words(series: &Series<&'static str>, mut row: impl FnMut(&str, u64)) {
    for (word, count) in series.iter() {
        row(word, count);
    }
    if let Some(count) = series.overflowed() {
        row(OVERFLOW, count);
    }
}
