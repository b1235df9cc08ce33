//! What does `grpc.health.v1.Health/Check` say of a service? (gRPC's `health-checking.md`)
//!
//! Both messages have one field, so they are written and read by hand.

use ::http::{HeaderValue, Method};
use bytes::{BufMut, Bytes, BytesMut};

use super::Target;
use super::http2::{Answer, exchange, request};
use crate::policy::grpc::Status;
use crate::policy::health::Check;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Field 1 of `HealthCheckRequest`: octets.
const SERVICE: u8 = 0x0a;
/// Field 1 of `HealthCheckResponse`: a number.
const STATUS: u8 = 0x08;

/// Asks for one service; an empty name means the server as a whole. The caller bounds the wait.
pub(super) async fn check(target: &Target, service: &str) -> Check {
    let Some(mut request) = request(target, Method::POST, PATH) else { return Check::Failed };
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    match exchange(target, request, Some(question(service))).await {
        Some(answer) => read(&answer),
        None => Check::Failed,
    }
}

/// A length-prefixed message that names the service.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        out.put_u8(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).unwrap_or(0));
}

/// `SERVING` is ready, `NOT_SERVING` alive; a server that doesn't know the service, or no health at all, has failed.
fn read(answer: &Answer) -> Check {
    let status = Status::read(&answer.trailers).or_else(|| Status::read(&answer.headers));
    if !answer.status.is_success() || status != Some(Status::Ok) {
        return Check::Failed;
    }
    match answer.content.get(5..) {
        Some([STATUS, 1, ..]) => Check::Ready,
        Some([STATUS, 2, ..]) => Check::NotReady,
        _ => Check::Failed,
    }
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn lb_7_the_question_is_as_protobuf_has_it() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"a".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02], "300 is 0b10_0101100");
    }

    #[test]
    fn lb_7_only_what_serves_is_ready() {
        let said = |octets: &[u8], code: &'static str| {
            let trailers = HeaderMap::from_iter([(
                ::http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(code),
            )]);
            let content = [&[0, 0, 0, 0, 2], octets].concat();
            read(&Answer { status: StatusCode::OK, headers: HeaderMap::new(), content, trailers })
        };
        assert_eq!(said(&[8, 1], "0"), Check::Ready);
        assert_eq!(said(&[8, 2], "0"), Check::NotReady);
        assert_eq!(said(&[8, 3], "0"), Check::Failed, "an unknown service");
        assert_eq!(said(&[], "0"), Check::Failed, "unknown");
        assert_eq!(said(&[8, 1], "12"), Check::Failed, "no such method");
    }
}
