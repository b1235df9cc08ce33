//! Does a check speak gRPC's health protocol? Against a server that does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::support::rig::{Rig, upstream};

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
const SERVICE_UNKNOWN: u8 = 3;

/// A server that says this of `ledger.v1.Ledger`, and `SERVICE_UNKNOWN` of all others.
fn server(says: Arc<AtomicU8>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let says = Arc::clone(&says);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.ok()?;
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                        assert_eq!(request.headers()["content-type"], "application/grpc");
                        let says = says.load(Ordering::SeqCst);
                        tokio::spawn(async move {
                            let asked = request.into_body().data().await?.ok()?;
                            let known = &asked[..] == b"\0\0\0\0\x12\x0a\x10ledger.v1.Ledger";
                            let mut send = respond.send_response(Response::new(()), false).ok()?;
                            let status = if known { says } else { SERVICE_UNKNOWN };
                            let message = [0, 0, 0, 0, 2, 8, status];
                            send.send_data(Bytes::copy_from_slice(&message), false).ok()?;
                            let ok = ("grpc-status".parse().unwrap(), "0".parse().unwrap());
                            send.send_trailers(HeaderMap::from_iter([ok])).ok()
                        });
                    }
                    Some(())
                });
            }
        });
    });
    addr
}

#[test]
fn lb_7_grpc_health() {
    let says = Arc::new(AtomicU8::new(SERVING));
    let endpoint = server(Arc::clone(&says));
    let fast = "interval: 100ms, timeout: 90ms, unhealthyAfter: 1, healthyAfter: 1";
    let checked = |service: &str| {
        upstream("up", &[endpoint], &format!("protocol: http2\nhealthCheck: {{grpc: {service}, {fast}}}"))
    };
    let rig = Rig::start(&[checked("ledger.v1.Ledger")]);
    let healthy = |count| rig.counts("endpoint_healthy", &[("upstream", "up")], count);
    while rig.metric("health_checks_total", &[("result", "ready")]) == 0 {}
    healthy(1);
    says.store(NOT_SERVING, Ordering::SeqCst);
    healthy(0);
    assert_eq!(rig.metric("health_checks_total", &[("result", "failed")]), 0, "it lives");
    says.store(SERVING, Ordering::SeqCst);
    healthy(1);
    rig.reload(&[checked("another.Service")]);
    healthy(0);
    assert!(rig.metric("health_checks_total", &[("result", "failed")]) > 0);
}
