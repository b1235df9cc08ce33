//! How do heads of HTTP/2 and heads of messages become each other? RFC 9113 §8.3: pseudo-fields instead of a start line.

use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, request, response};

use crate::message::head::{MAX_FIELDS, expects_continue, is_form_of, may_have_content};
use crate::message::{Framing, HeadError, HeadLimits, Known, RequestHead, ResponseHead, Version};

/// A request as it came; `ended`: it has no content. The codec has refused what is malformed by RFC 9113 §8.2.
pub fn request_head(
    parts: request::Parts,
    limits: &HeadLimits,
    ended: bool,
) -> Result<RequestHead, HeadError> {
    let request::Parts { mut method, uri: target, mut headers, extensions, .. } = parts;
    // RFC 8441 §4: to the rest of us, an extended CONNECT is the GET with an upgrade that it stands for.
    let protocol =
        extensions.get::<Protocol>().and_then(|protocol| HeaderValue::from_str(protocol.as_str()).ok());
    let upgrade = protocol.is_some();
    if let Some(protocol) = protocol {
        method = Method::GET;
        headers.insert(UPGRADE, protocol);
    }
    let known = Known::all(&headers);
    let (framing, expects_continue) = if ended || upgrade {
        (Framing::None, false)
    } else {
        (content(&headers, known), expects_continue(&headers, known))
    };
    let head = RequestHead {
        method,
        target,
        seen_path: None,
        version: Version::Http2,
        headers,
        known,
        framing,
        keep_alive: true,
        expects_continue,
        upgrade,
    };
    check(&head, limits).map(|()| head)
}

fn check(head: &RequestHead, limits: &HeadLimits) -> Result<(), HeadError> {
    if head.headers.len() > limits.fields {
        return Err(HeadError::TooManyFields);
    }
    if head.target.path_and_query().is_some_and(|path| path.as_str().len() > limits.target) {
        return Err(HeadError::TargetTooLong);
    }
    one_length(&head.headers, head.known)?;
    if head.method == Method::CONNECT && !is_form_of(&head.method, &head.target) {
        return Err(HeadError::Syntax);
    }
    // RFC 9113 §8.3.1: a path begins with `/`, but for the `*` of OPTIONS.
    let path = head.target.path();
    if head.method != Method::CONNECT
        && !path.starts_with('/')
        && (path, &head.method) != ("*", &Method::OPTIONS)
    {
        return Err(HeadError::Syntax);
    }
    // RFC 9113 §8.3.1: no credentials, and `Host` must not say otherwise.
    match head.target.authority().map(Authority::as_str) {
        Some(authority) if authority.contains('@') => return Err(HeadError::Host),
        None if !head.known.has(Known::HOST) => return Err(HeadError::Host),
        _ => {}
    }
    if head.known.has(Known::HOST) {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = hosts.next().map_or(&b""[..], HeaderValue::as_bytes);
        let same = |authority: &Authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host);
        if hosts.next().is_some()
            || Authority::try_from(host).is_err()
            || host.contains(&b'@')
            || !head.target.authority().is_none_or(same)
        {
            return Err(HeadError::Host);
        }
    }
    Ok(())
}

/// The codec looks at one; whoever reads them behind us might look at another (RFC 9110 §8.6).
fn one_length(headers: &HeaderMap, known: Known) -> Result<(), HeadError> {
    let several = known.has(Known::CONTENT_LENGTH) && headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some();
    if several { Err(HeadError::Framing) } else { Ok(()) }
}

/// The codec holds content to its announced length (RFC 9113 §8.1.1).
fn content(headers: &HeaderMap, known: Known) -> Framing {
    let length =
        known.has(Known::CONTENT_LENGTH).then(|| headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
    match length.flatten() {
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// An answer as it came; `ended`: it has no content.
pub fn response_head(
    parts: response::Parts,
    limits: &HeadLimits,
    ended: bool,
    to: &Method,
) -> Result<ResponseHead, HeadError> {
    let response::Parts { status, headers, .. } = parts;
    if headers.len() > limits.fields.min(MAX_FIELDS) {
        return Err(HeadError::TooManyFields);
    }
    let known = Known::all(&headers);
    one_length(&headers, known)?;
    let bare = ended || !may_have_content(status, to);
    let framing = if bare { Framing::None } else { content(&headers, known) };
    Ok(ResponseHead { status, version: Version::Http2, headers, known, framing, keep_alive: true })
}

/// A request as it goes, `within_tls` or in plaintext; `headers` are its fields. An upgrade goes as extended CONNECT (RFC
/// 8441 §4).
///
/// Errors: a head whose authority is none of HTTP/2's; the downstream's doing.
pub fn request(
    head: &RequestHead,
    mut headers: HeaderMap,
    upgrade: Option<&str>,
    within_tls: bool,
) -> Result<Request<()>, HeadError> {
    let mut request = Request::new(());
    *request.uri_mut() = target(head, if within_tls { Scheme::HTTPS } else { Scheme::HTTP })?;
    *request.method_mut() = if upgrade.is_some() { Method::CONNECT } else { head.method.clone() };
    if let Some(protocol) = upgrade {
        request.extensions_mut().insert(Protocol::from(protocol));
        for name in ["sec-websocket-key", "sec-websocket-accept"] {
            headers.remove(name);
        }
    }
    *request.headers_mut() = headers;
    *request.version_mut() = http::Version::HTTP_2;
    Ok(request)
}

/// Scheme, authority and path. What came over HTTP/2 has them; HTTP/1 says its authority in `Host`. The scheme is that of
/// the connection it goes over: there are servers that compare (RFC 9113 §8.3.1).
fn target(head: &RequestHead, scheme: Scheme) -> Result<Uri, HeadError> {
    if head.target.scheme() == Some(&scheme) && head.target.authority().is_some() {
        return Ok(head.target.clone());
    }
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(match head.target.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(head.authority()).map_err(|_| HeadError::Host)?,
    });
    let path = head.target.path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_| HeadError::Syntax)
}

/// Whether a request is a gRPC call (gRPC over HTTP/2, "Requests": `application/grpc`, perhaps with a suffix).
pub fn is_grpc(head: &RequestHead) -> bool {
    head.known.has(Known::CONTENT_TYPE)
        && head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.as_bytes();
            let prefix = b"application/grpc";
            kind.starts_with(prefix) && matches!(kind.get(prefix.len()), None | Some(b'+' | b';'))
        })
}
