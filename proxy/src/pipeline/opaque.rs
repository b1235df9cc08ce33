//! What happens to a connection that nobody reads? It goes where its route says, by the same policies as a tunnel that
//! somebody asked for: limits, balancing, retries until there is a connection, outliers and breakers, an idle limit.

use std::net::SocketAddr;

use http::{HeaderMap, Method, Uri};
use outrigger_config::model::Upgrade;

use super::exchange::{Exchange, Kind};
use super::upload::Upload;
use super::{After, Down, Failure, authz, fallback, limits, tunnel};
use crate::clock::now;
use crate::http1::ServerConn;
use crate::message::{Framing, Known, RequestHead, Version};
use crate::snapshot::{ListenerId, Snapshot};
use crate::worker::Worker;

/// Its life: a route, who may, what limits let it have, an endpoint that takes it, octets in both directions. One that fails
/// is reset, so that nobody takes that for an end.
pub async fn pass(
    worker: &Worker,
    snapshot: &Snapshot,
    listener: ListenerId,
    sni: Option<&str>,
    conn: &mut ServerConn,
) {
    let head = head(sni, snapshot.destination(listener, conn.ends.meant));
    let caller = (conn.ends, conn.channel.wire.stream().proof().cloned());
    let mut exchange = Exchange::begin(worker, snapshot, listener, caller, head, now());
    exchange.kind = Kind::Connection;
    let carried = carry(&mut exchange, sni, &mut Down::Http1(conn)).await;
    exchange.failure = carried.err();
    if exchange.failure.is_some() {
        conn.abort();
    }
    exchange.finish(After::Close);
}

async fn carry<'s>(
    exchange: &mut Exchange<'s>,
    sni: Option<&str>,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    let snapshot: &'s Snapshot = exchange.snapshot;
    let rule = snapshot.passage(exchange.listener, exchange.meant, sni).ok_or(Failure::NoRoute)?;
    let backend = rule.backend(exchange.worker.rng(|rng| rng.u64(..)));
    exchange.chosen = Some((rule, backend));
    authz::check(exchange)?;
    exchange.tunnel = Some(&Upgrade::Connect);
    exchange.set_deadline(backend);
    let mut admission = limits::admit(exchange, rule, down).await?;
    let mut upload = Upload::of(exchange, rule, backend);
    let answer = fallback::ask(exchange, backend, &mut admission, &mut upload, down).await?;
    tunnel::relay(exchange, backend, answer, down).await
}

/// What it would have asked for, had it been a request: a tunnel to there (RFC 9110 §9.3.6).
fn head(sni: Option<&str>, destination: SocketAddr) -> RequestHead {
    let port = destination.port();
    let target = sni.and_then(|name| Uri::try_from(format!("{name}:{port}")).ok());
    let meant = || Uri::try_from(destination.to_string()).unwrap_or_default();
    RequestHead {
        method: Method::CONNECT,
        target: target.unwrap_or_else(meant),
        seen_path: None,
        version: Version::Http11,
        headers: HeaderMap::new(),
        known: Known::NONE,
        framing: Framing::None,
        keep_alive: false,
        expects_continue: false,
        upgrade: false,
    }
}
