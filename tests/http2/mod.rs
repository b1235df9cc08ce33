//! What travels over HTTP/2 connections, and what does not? Frames written by hand, on both ends.

mod attacked;
mod attacks;
mod ends;
mod flow;
mod goaway;
mod leaving;
mod limits;
mod malformed;
mod slow;
mod translation;
mod upstreams;
mod versions;

use crate::support::scripted::Upstream;
use crate::support::server::Server;
use crate::support::sidecar::{Policy, Sidecar};

/// A request without surprises.
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "origin"), (":path", "/")];
/// The same, with content to follow.
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "origin"), (":path", "/")];
/// The same in HTTP/1, without content.
const GET1: &str = "GET / HTTP/1.1\r\nhost: origin\r\n\r\n";
/// The head of an answer without surprises.
const OK: &[(&str, &str)] = &[(":status", "200")];
/// The same in HTTP/1.
const OK1: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A head with further fields.
fn with<'a>(head: &[(&'a str, &'a str)], further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [head, further].concat()
}

/// A sidecar whose upstream speaks HTTP/2 to every caller.
#[track_caller]
fn before(origin: &Server) -> Sidecar {
    Sidecar::with(origin.addr, Policy { upstream: "protocol: http2", ..Policy::default() })
}

/// A sidecar whose upstream speaks HTTP/1 to every caller.
#[track_caller]
fn before_http1(origin: &Upstream) -> Sidecar {
    Sidecar::with(origin.addr, Policy { upstream: "protocol: http1", ..Policy::default() })
}
