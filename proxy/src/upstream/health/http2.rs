//! What does an endpoint answer over HTTP/2? One request on a connection of its own: head, a little content, trailers.

use ::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use h2::client::Builder;

use super::Target;
use crate::tls::Alpn;

/// Content that is looked at; a check's answer has a few octets.
const ENOUGH: usize = 4096;

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Vec<u8>,
    pub(super) trailers: HeaderMap,
}

/// The status of a GET; `None`: none came. The caller bounds the wait.
pub(super) async fn get(target: &Target, path: &str) -> Option<StatusCode> {
    let request = request(target, Method::GET, path)?;
    Some(exchange(target, request, None).await?.status)
}

/// A request to the target, as far as all have it.
pub(super) fn request(target: &Target, method: Method, path: &str) -> Option<Request<()>> {
    let scheme = if target.upstream.tls.is_some() { "https" } else { "http" };
    let uri = format!("{scheme}://{}{path}", target.name());
    Request::builder().method(method).uri(uri).header("user-agent", "outrigger").body(()).ok()
}

/// Sends a request, and reads what comes.
pub(super) async fn exchange(
    target: &Target,
    request: Request<()>,
    content: Option<Bytes>,
) -> Option<Answer> {
    let stream = target.connect(Alpn::Http2).await?;
    let (mut send, driver) = Builder::new().enable_push(false).handshake(stream).await.ok()?;
    let asking = async move {
        let (answer, mut sending) = send.send_request(request, content.is_none()).ok()?;
        if let Some(content) = content {
            sending.send_data(content, true).ok()?;
        }
        let (head, mut body) = answer.await.ok()?.into_parts();
        let mut content = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.ok()?;
            let _ = body.flow_control().release_capacity(data.len());
            if content.len() + data.len() > ENOUGH {
                return None;
            }
            content.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.ok()?.unwrap_or_default();
        Some(Answer { status: head.status, headers: head.headers, content, trailers })
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        // It has nothing more to say once the connection has ended.
        _ = driver => None,
    }
}
