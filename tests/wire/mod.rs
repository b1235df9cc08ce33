//! What travels over HTTP/1 connections, and what does not?

mod broken;
mod fields;
mod keep;
mod leaving;
mod limits;
mod reasons;
mod streams;
mod uploads;

/// A response without surprises.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// A request without surprises.
const GET: &str = "GET / HTTP/1.1\r\nhost: origin\r\n\r\n";
