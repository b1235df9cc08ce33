//! What does one line say? The fields of an exchange, and the line that is made of them.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use outrigger_config::model::Direction;
use serde::{Serialize, Serializer};

use super::super::metrics::Flag;
use super::timestamp::rfc3339;

/// Bytes of a text that a peer chose; what is longer is cut, so that a line is bounded.
const MAX_TEXT: usize = 1024;

/// What is known of one exchange at its end. Borrows everything; build it only when [`super::AccessLog::wants`] it.
/// Absent fields are left out of the line.
#[derive(Debug, Clone, Serialize)]
pub struct Record<'a> {
    /// When the request's head had arrived; RFC 3339, UTC.
    #[serde(serialize_with = "time")]
    pub time: SystemTime,
    /// Whom the caller called: our service, or another.
    #[serde(serialize_with = "direction")]
    pub direction: Direction,
    /// The other end of the downstream connection.
    pub peer: SocketAddr,
    /// Who it proved to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<&'a str>,
    /// `tcp`: a connection that nobody reads, which has no method, path and status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'a str>,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text<'a>>,
    /// The request's authority; of a connection, whom its TLS asks for or where it was meant to go.
    pub authority: Text<'a>,
    /// The request's target, up to its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path<'a>>,
    /// The route's name.
    pub route: &'a str,
    /// The upstream's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// The endpoint of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// What the caller saw; 0 if nothing.
    pub status: u16,
    /// What a gRPC call ended in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<&'a str>,
    /// Why it ended so.
    pub flag: Flag,
    /// The cause in `x-outrigger-reason`, of answers that we made; or why something stood in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// What stood in for the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<&'a str>,
    /// How many attempts were made.
    pub attempts: u32,
    /// `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text<'a>>,
    /// The id of the trace, see [`trace_id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Body bytes from the caller.
    pub bytes_in: u64,
    /// Body bytes to the caller.
    pub bytes_out: u64,
    /// From the request's head to the last byte of the answer; milliseconds with three decimals.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// The configuration that it met.
    pub generation: u64,
}

/// What a peer sent: escaped, cut after 1 KiB, and what is not UTF-8 is replaced.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a [u8]);

/// A request's target as [`Text`], without its query: tokens and personal data live there, so it is never written.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a>(pub &'a [u8]);

/// The trace id in a `traceparent` (W3C Trace Context §3.2): 32 lower-case hexadecimal digits, not all zero.
pub fn trace_id(traceparent: &[u8]) -> Option<&str> {
    let [_, _, b'-', rest @ ..] = traceparent else { return None };
    let (id, rest) = rest.split_at_checked(32)?;
    let valid = rest.starts_with(b"-")
        && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && id.iter().any(|byte| *byte != b'0');
    str::from_utf8(id).ok().filter(|_| valid)
}

impl Record<'_> {
    /// One line of JSON with its line feed. `None` if serialising fails, which no field can make happen.
    pub(super) fn to_line(&self) -> Option<Vec<u8>> {
        let mut line = serde_json::to_vec(self).ok()?;
        line.push(b'\n');
        Some(line)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let shown = &self.0[..self.0.len().min(MAX_TEXT)];
        to.serialize_str(&String::from_utf8_lossy(shown))
    }
}

impl Serialize for Path<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let query = self.0.iter().position(|byte| matches!(byte, b'?' | b'#'));
        Text(&self.0[..query.unwrap_or(self.0.len())]).serialize(to)
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn direction<S: Serializer>(direction: &Direction, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    })
}

fn time<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*time))
}

fn millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let micros = (duration.as_secs_f64() * 1e6).round();
    to.serialize_f64(micros / 1e3)
}
