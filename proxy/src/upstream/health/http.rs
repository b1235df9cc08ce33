//! What does an endpoint answer to a GET over HTTP/1.1? Its status is all that a check wants to know.

use ::http::{Method, StatusCode};
use outrigger_config::defaults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Target;
use crate::http1::head::parse_response;
use crate::message::{HeadLimits, Scratch};
use crate::tls::Alpn;

const LIMITS: HeadLimits =
    HeadLimits { bytes: defaults::RESPONSE_HEAD, fields: defaults::RESPONSE_FIELDS, target: 0 };

/// The status of the final answer; `None`: none came. The caller bounds the wait.
pub(super) async fn get(target: &Target, path: &str) -> Option<StatusCode> {
    let mut stream = target.connect(Alpn::Http1).await?;
    let name = target.name();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nuser-agent: outrigger\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let (scratch, mut came) = (Scratch::default(), Vec::with_capacity(4096));
    loop {
        while let Some((head, length)) = parse_response(&came, &LIMITS, &scratch, &Method::GET).ok()? {
            if !head.status.is_informational() {
                return Some(head.status);
            }
            came.drain(..length);
        }
        if stream.read_buf(&mut came).await.ok()? == 0 {
            return None;
        }
    }
}
