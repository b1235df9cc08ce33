//! Which value holds where nobody wrote one? Every default, one const each, with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;

use crate::model::priority::{Order, Shares};
use crate::model::{
    Applied, Backoff, BreakerScope, Direction, Http2Limits, InboundTls, LoadBalancer, OutlierDetection,
    PortRange, Protocol, RetryBudget, RetryCondition, Upgrade, UpstreamLimits,
};

/// Until the response head. Envoy's 15 s: longer than any healthy call, shorter than a user's patience with a reload.
pub const REQUEST: Duration = Duration::from_secs(15);
/// Without a byte in either direction. Envoy's stream idle timeout: a long poll passes, a dead peer is noticed.
pub const IDLE: Duration = Duration::from_mins(5);
/// A TCP handshake between hosts of one network takes milliseconds; 1 s leaves room for one lost SYN. As Linkerd.
pub const CONNECT: Duration = Duration::from_secs(1);
/// To the application on the same host: only a full accept queue takes longer. As Linkerd.
pub const CONNECT_INBOUND: Duration = Duration::from_millis(300);

/// One more endpoint is tried; more retries multiply load when it hurts most.
pub const RETRY_ATTEMPTS: u32 = 1;
/// The side that calls retries; a second layer would multiply (RT-10).
pub const RETRY_ATTEMPTS_INBOUND: u32 = 0;
/// Nothing was sent, or nothing was begun, so nothing can happen twice.
pub const RETRY_ON: [RetryCondition; 2] = [RetryCondition::ConnectFailure, RetryCondition::RefusedStream];
/// The idempotent methods of RFC 9110 §9.2.2.
pub const RETRY_METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
/// Envoy's 25 ms and 250 ms: below a user's notice, above a network's hiccup.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) };
/// Linkerd's 64 KiB: holds nearly every API request, and 10,000 of them fit a small sidecar.
pub const REPLAY_BODY: usize = 64 << 10;

/// Retries add at most a fifth to the load of an upstream that fails (Finagle, Linkerd, GEP-3388).
pub const BUDGET_PERCENT: f64 = 0.2;
/// Long enough to smooth bursts, short enough to forget yesterday's traffic.
pub const BUDGET_INTERVAL: Duration = Duration::from_secs(10);
/// A service with little traffic may still retry; a failing upstream survives ten requests a second.
pub const BUDGET_MIN_RATE: f64 = 10.0;

/// A slow endpoint gets less without being ejected: one ten times slower gets under a tenth (LB-2).
pub const LOAD_BALANCER: LoadBalancer = LoadBalancer::PeakEwma;
/// gRPC works without a word of policy, and turning HTTP/1 into HTTP/2 saves nothing.
pub const PROTOCOL: Protocol = Protocol::Auto;
/// A resolver that is down for ten minutes has been noticed; endpoints older than that are a guess.
pub const STALE_FOR: Duration = Duration::from_mins(10);

/// `HAProxy`'s numbers: two seconds, three failures, two successes. A dead endpoint is found within ten seconds, and one
/// lost packet kills nobody.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// As [`CONNECT`], for the connect and an answer that costs nothing.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// See [`HEALTH_INTERVAL`].
pub const UNHEALTHY_AFTER: NonZeroU32 = NonZeroU32::new(3).expect("3 is not 0");
/// See [`HEALTH_INTERVAL`].
pub const HEALTHY_AFTER: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
/// Linkerd's number: a streak that a healthy endpoint has by chance once in millions, and a dead one within a moment.
pub const CONSECUTIVE_FAILURES: NonZeroU32 = NonZeroU32::new(7).expect("7 is not 0");
/// Short, since an ejection may be a mistake; each relapse doubles it. Linkerd's penalty.
pub const BASE_EJECTION_TIME: Duration = Duration::from_secs(1);
/// What has failed for long is asked once a minute. Linkerd's as well.
pub const MAX_EJECTION_TIME: Duration = Duration::from_mins(1);
/// If more than half seem bad, the fault is likelier ours or everybody's, and the rest could not bear the load.
pub const MAX_EJECTION_PERCENT: f64 = 0.5;
/// On: who writes nothing gets passive health (CF-8), and its maximum keeps a mistake from becoming an outage. It is the
/// one place where seven failures in a row count: a breaker at each endpoint would judge the same streak again, without
/// a maximum, and one before the upstream would refuse all for what some routes suffer. So breakers are for those who
/// write thresholds.
pub const OUTLIER_DETECTION: Applied<OutlierDetection> = Applied::enforced(OutlierDetection {
    consecutive_failures: CONSECUTIVE_FAILURES,
    base_ejection_time: BASE_EJECTION_TIME,
    max_ejection_time: MAX_EJECTION_TIME,
    max_ejection_percent: MAX_EJECTION_PERCENT,
});
/// A single endpoint is `outlierDetection`'s business, which knows a maximum; what is left is that all of them fail.
pub const BREAKER_SCOPE: BreakerScope = BreakerScope::Upstream;
/// Long enough for a rate at little traffic, short enough to open before callers have given up.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// Half of fewer requests is chance.
pub const BREAKER_MIN_REQUESTS: u32 = 20;
/// One real request finds out as much as ten, and costs less if nothing has changed (Linkerd).
pub const BREAKER_TRIALS: NonZeroU32 = NonZeroU32::MIN;
/// The same as of an ejection.
pub const BREAKER_BACKOFF: Backoff = Backoff { base: BASE_EJECTION_TIME, max: MAX_EJECTION_TIME };
/// None: [`LOAD_BALANCER`] sends a slow newcomer less by itself, and nobody wants to wait for a warm-up unasked.
pub const SLOW_START: Duration = Duration::ZERO;
/// Everyone or nobody is an operator's choice: off as in Istio, where Envoy's 50 % surprised those who had not made it.
pub const PANIC_THRESHOLD: f64 = 0.0;

/// Envoy's number. At 50 ms an answer it is 20,000 a second; an upstream that hangs holds so many requests and no more,
/// and the rest of the service goes on (BH-1).
pub const MAX_REQUESTS: u32 = 1024;
/// Envoy's number. What waits longer than this queue takes to drain has timed out anyway.
pub const MAX_PENDING: usize = 1024;
/// Envoy's number: with fewer places an answer's latency says nothing about a queue.
pub const ADAPTIVE_MIN: u32 = 3;
/// Longer than a burst lasts, shorter than callers wait.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Applications answer with large cookies; 64 KiB is what peers accept, more is an attack or a bug.
pub const RESPONSE_HEAD: usize = 64 << 10;
/// Twice what a request may have: intermediaries behind the endpoint add their own.
pub const RESPONSE_FIELDS: usize = 200;
/// Per endpoint and worker: covers a burst without holding a server's last descriptors.
pub const MAX_IDLE: usize = 128;
/// Below NGINX's 75 s, so that we mostly close first; what they close earlier is repaired by a fresh connection.
pub const POOL_IDLE: Duration = Duration::from_mins(1);

/// A connection pool's connections are silent for long by intent, and nothing reads in an opaque one whether it waits for an
/// answer. Envoy's hour.
pub const OPAQUE_IDLE: Duration = Duration::from_hours(1);
/// A client that speaks first does so within a round trip; a server that does is kept waiting for so long once, on a port
/// that nobody listed. Linkerd waits ten seconds, and its users for as long (REQUIREMENTS U19).
pub const DETECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Linkerd's list: SMTP twice, `MySQL`, Galera, `PostgreSQL`, Redis, Elasticsearch, memcached. Either the server speaks
/// first there, or what is spoken is never HTTP.
pub const OPAQUE_PORTS: [u16; 8] = [25, 587, 3306, 4444, 5432, 6379, 9300, 11211];

/// About half a megabyte for each limit; more callers at one time share a place.
pub const RATE_LIMIT_KEYS: u32 = 10_000;
/// Shares are compared twice a second by sorting; who is not among so many is no cause of an overload.
pub const FAIR_SHARE_KEYS: u32 = 256;
/// One caller's flood should be that caller's problem.
pub const SHED_FIRST: Order = Order::GreedyFirst;

/// Smooths a burst of half a second; what comes faster for longer is better told so while it can still do something else.
pub const PACING_MAX_WAIT: Duration = Duration::from_millis(500);

/// What a shared cache may keep at all.
pub const CACHE_METHODS: [Method; 2] = [Method::GET, Method::HEAD];
/// As [`STALE_FOR`]: an outage longer than that has been noticed, and answers older than that are a guess.
pub const CACHE_STALE_IF_ERROR: Duration = STALE_FOR;
/// Enough for the answers that matter in an outage.
pub const CACHE_ENTRIES: usize = 1000;
/// What a sidecar can hold beside its connections.
pub const CACHE_BYTES: usize = 32 << 20;
/// An answer of an API; what is larger is a download.
pub const CACHE_BODY: usize = 1 << 20;

/// Holds the largest tokens and cookies in use; Envoy takes 60 KiB.
pub const REQUEST_HEAD: usize = 64 << 10;
/// What the parser holds without allocating; browsers send about twenty.
pub const REQUEST_FIELDS: usize = 100;
/// RFC 9110 §4.1 asks for 8,000 octets at least; twice that.
pub const REQUEST_TARGET: usize = 16 << 10;
/// From a head's first byte: a slow link sends a head in a second, a slowloris never does.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between requests of a connection; NGINX keeps its upstream connections as long.
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_mins(1);
/// As [`IDLE`], for one body.
pub const BODY_IDLE: Duration = IDLE;
/// About 600 MiB with full buffers in both directions: what a host can lend its sidecar in the worst hour.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Two round trips and some milliseconds of arithmetic; whoever takes longer holds a place and gives nothing.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// About a second's work of one core, so that those who wait still finish within callers' [`CONNECT`]; and a tenth of
/// [`MAX_CONNECTIONS`], so that handshakes that stall leave the connections that are served alone.
pub const MAX_HANDSHAKES: usize = 1000;
/// One second of connections at 1,000 a second.
pub const BACKLOG: u32 = 1024;
/// Trailers carry a status and a digest.
pub const TRAILERS: usize = 8 << 10;
/// As [`TRAILERS`].
pub const TRAILER_FIELDS: usize = 64;

/// Clients that we don't control find new replicas within ten minutes (REQUIREMENTS U16), each at its own moment.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_mins(10);
/// RFC 9113 §6.5.2 asks for 100 at least; more per connection only deepens the queue behind one TCP stream.
pub const HTTP2_STREAMS: u32 = 100;
/// The protocol's own default: 64 KiB a stream fill a 50 Mbit/s path of 10 ms, and a hundred of them fit the host.
pub const HTTP2_STREAM_WINDOW: u32 = 64 << 10;
/// What one connection may make us hold, however many streams it has.
pub const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;
/// Half of [`REQUEST_HEAD`]: a compressed field of a few octets can claim kilobytes, so the sum is what counts.
pub const HTTP2_HEADER_LIST: u32 = 32 << 10;
/// A caller that hedges cancels a few a second; rapid reset (CVE-2023-44487) cancels thousands.
pub const HTTP2_RESETS: u32 = 200;
/// A keep-alive sends one PING in seconds; each costs us an answer (CVE-2019-9512, CVE-2019-9515).
pub const HTTP2_CONTROL_FRAMES: f64 = 100.0;
/// Empty frames cost work and bring nothing (CVE-2019-9518).
pub const HTTP2_EMPTY_DATA: u32 = 100;

/// Who has an identity has callers with one; plaintext beside it would be a way around every check of who calls.
pub const TLS_WITH_IDENTITY: InboundTls = InboundTls::Strict { plaintext_paths: Vec::new() };
/// Nobody can prove anything to a sidecar that has no roots, nor it to them.
pub const TLS_WITHOUT_IDENTITY: InboundTls = InboundTls::Off;

/// Kubernetes' default grace period.
pub const DRAIN: Duration = Duration::from_secs(30);
/// Failures and slow exchanges are all written; one in a hundred of the rest shows what normal looks like.
pub const SUCCESS_SAMPLE: f64 = 0.01;
/// Slower than this is felt by a user.
pub const SLOWER_THAN: Duration = Duration::from_millis(500);
/// About 3,000 lines a second, 90 GB a day: more fills disks before it explains anything.
pub const LOG_BYTES_PER_SECOND: u64 = 1 << 20;

/// A tenth of [`MAX_REQUESTS`]: what an experiment may break while nobody looks.
pub const FAULTS_MAX_ACTIVE: u32 = 100;
/// An experiment that nobody ends has been forgotten by then.
pub const FAULTS_MAX_DURATION: Duration = Duration::from_hours(1);

/// The service reaches it by `HTTP_PROXY`; loopback, so that nobody else can.
pub const OUTBOUND_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15001);
/// Loopback: the interface has no authentication.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
/// Every address: Prometheus and the kubelet come from outside.
pub const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15020);
/// Every address: callers come from outside.
pub const INBOUND_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// As Istio.
pub const INBOUND_CAPTURE_PORT: u16 = 15006;
/// The metadata service of the clouds gives out credentials of the host's: it is asked as if nobody stood between.
pub const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// The sidecar's own, whichever of them it uses: what others send there is never redirected.
pub const OWN_PORTS: PortRange = PortRange { first: 15_000, last: 15_099 };

/// The budget of an upstream of which nobody wrote anything.
pub const RETRY_BUDGET: RetryBudget =
    RetryBudget { percent: BUDGET_PERCENT, interval: BUDGET_INTERVAL, min_rate: BUDGET_MIN_RATE };
/// The bounds of an upstream of which nobody wrote anything.
pub const UPSTREAM_LIMITS: UpstreamLimits = UpstreamLimits {
    max_connections: None,
    max_requests: Some(MAX_REQUESTS),
    adaptive: None,
    shares: Shares::ALL,
    max_pending: MAX_PENDING,
    queue_timeout: QUEUE_TIMEOUT,
    response_head: RESPONSE_HEAD,
    response_fields: RESPONSE_FIELDS,
    max_idle: MAX_IDLE,
    idle_timeout: POOL_IDLE,
    max_connection_age: MAX_CONNECTION_AGE,
    http2: HTTP2_LIMITS,
};
/// The bounds of an HTTP/2 connection of which nobody wrote anything.
pub const HTTP2_LIMITS: Http2Limits = Http2Limits {
    max_streams: HTTP2_STREAMS,
    stream_window: HTTP2_STREAM_WINDOW,
    connection_window: HTTP2_CONNECTION_WINDOW,
    resets: HTTP2_RESETS,
    control_frames: HTTP2_CONTROL_FRAMES,
    empty_data: HTTP2_EMPTY_DATA,
};

/// Nothing is gained by refusing WebSocket, which browsers and servers negotiate themselves. CONNECT is for the service's
/// own calls through `HTTP_PROXY`; from outside it would be a way around every route.
pub fn upgrades(direction: Direction) -> Vec<Upgrade> {
    let websocket = Upgrade::Protocol("websocket".to_owned());
    match direction {
        Direction::Inbound => vec![websocket],
        Direction::Outbound => vec![websocket, Upgrade::Connect],
    }
}
