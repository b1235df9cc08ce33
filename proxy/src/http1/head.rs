//! Which requests and responses are well-formed? Strict: what is ambiguous is refused, never repaired and passed on.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::message::head::{MAX_FIELDS, connection_tokens, expects_continue, is_form_of, may_have_content};
use crate::message::{Framing, HeadError, HeadLimits, Known, RequestHead, ResponseHead, Scratch, Version};

type Slots<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

/// Reads a request head from the start of `bytes`; `None`: not complete yet. Answers how many octets it took.
/// Its memory is the worker's.
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    scratch: &Scratch,
) -> Result<Option<(RequestHead, usize)>, HeadError> {
    let mut slots: Slots<'_> = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let len = match parsed.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return partial(bytes, limits, parsed.path),
        Err(error) => return Err(classify(error)),
    };
    let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Syntax);
    };
    if len > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    if path.len() > limits.target {
        return Err(HeadError::TargetTooLong);
    }
    let version = if minor == 1 { Version::Http11 } else { Version::Http10 };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Syntax)?;
    let whole = scratch.hold(&bytes[..len]);
    let target = target(within(&whole, bytes, path.as_bytes()), &method)?;
    let (headers, known) = collect(&whole, bytes, parsed.headers, scratch.map())?;
    let persistence = Persistence::of(&headers, known);
    let framing = request_framing(&headers, known, version)?;
    // What follows CONNECT is the tunnel's (RFC 9110 §9.3.6): who announces content means something else by it.
    if method == Method::CONNECT && framing != Framing::None {
        return Err(HeadError::Framing);
    }
    check_host(&headers, version)?;
    let expects_continue =
        version == Version::Http11 && framing != Framing::None && expects_continue(&headers, known);
    let keep_alive = persistence.keep_alive(version);
    // HTTP/1.0 knows no upgrade (RFC 9110 §7.8).
    let upgrade = persistence.upgrade && version == Version::Http11 && known.has(Known::UPGRADE);
    let head = RequestHead {
        method,
        target,
        seen_path: None,
        version,
        headers,
        known,
        framing,
        keep_alive,
        expects_continue,
        upgrade,
    };
    Ok(Some((head, len)))
}

/// A target in one of the forms that its method may have (RFC 9112 §3.2).
fn target(text: Bytes, method: &Method) -> Result<Uri, HeadError> {
    // A fragment never travels in a target (RFC 9112 §3.2); `Uri` would drop it silently.
    if text.contains(&b'#') {
        return Err(HeadError::Syntax);
    }
    let target = Uri::from_maybe_shared(text).map_err(|_| HeadError::Syntax)?;
    if !is_form_of(method, &target) {
        return Err(HeadError::Syntax);
    }
    // Credentials in a target would end up in `Host` (RFC 9110 §4.2.4).
    if target.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(HeadError::Host);
    }
    Ok(target)
}

/// Reads a response head from the start of `bytes`; `None`: not complete yet. Answers how many octets it took.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    scratch: &Scratch,
    to: &Method,
) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    let mut slots: Slots<'_> = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let result =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, slots);
    let len = match result {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return partial(bytes, limits, None),
        Err(error) => return Err(classify(error)),
    };
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(HeadError::Syntax) };
    if len > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    let version = if minor == 1 { Version::Http11 } else { Version::Http10 };
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::Syntax)?;
    let whole = scratch.hold(&bytes[..len]);
    let (headers, known) = collect(&whole, bytes, parsed.headers, scratch.map())?;
    let persistence = Persistence::of(&headers, known);
    let framing = response_framing(&headers, known, version, status, to)?;
    let keep_alive = persistence.keep_alive(version) && framing != Framing::UntilClose;
    Ok(Some((ResponseHead { status, version, headers, known, framing, keep_alive }, len)))
}

/// Whether `bytes` hold the empty line that ends a head, of which the first `searched` octets hold none.
pub fn ends_head(bytes: &[u8], searched: usize) -> bool {
    let fresh = &bytes[searched.saturating_sub(3)..];
    fresh.windows(2).any(|two| two == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}

/// Not complete: is it already too much?
fn partial<T>(bytes: &[u8], limits: &HeadLimits, path: Option<&str>) -> Result<Option<T>, HeadError> {
    let target_so_far = match path {
        Some(path) => path.len(),
        None => bytes.split(|&octet| octet == b' ').nth(1).map_or(0, <[u8]>::len),
    };
    if target_so_far > limits.target && !bytes.contains(&b'\n') {
        return Err(HeadError::TargetTooLong);
    }
    if bytes.len() >= limits.bytes { Err(HeadError::TooLarge) } else { Ok(None) }
}

fn classify(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::Version,
        _ => HeadError::Syntax,
    }
}

/// The part of `whole` that is a copy of `part`, which lies within `bytes`.
fn within(whole: &Bytes, bytes: &[u8], part: &[u8]) -> Bytes {
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    whole.slice(start..start + part.len())
}

fn collect(
    whole: &Bytes,
    bytes: &[u8],
    parsed: &[httparse::Header<'_>],
    mut fields: HeaderMap,
) -> Result<(HeaderMap, Known), HeadError> {
    let mut known = Known::NONE;
    fields.clear();
    fields.reserve(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadError::Syntax)?;
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(within(whole, bytes, field.value))
                .map_err(|_| HeadError::Syntax)?
        };
        known = known.and(Known::of(name.as_str()));
        fields.append(name, value);
    }
    Ok((fields, known))
}

/// RFC 9112 §6.3 for requests, refusing where it allows to guess.
fn request_framing(headers: &HeaderMap, known: Known, version: Version) -> Result<Framing, HeadError> {
    if !known.has(Known::TRANSFER_ENCODING.and(Known::CONTENT_LENGTH)) {
        return Ok(Framing::None);
    }
    match (transfer_coding(headers, version)?, content_length(headers)?) {
        (true, Some(_)) => Err(HeadError::Framing),
        (true, None) => Ok(Framing::Chunked),
        (false, None | Some(0)) => Ok(Framing::None),
        (false, Some(length)) => Ok(Framing::Length(length)),
    }
}

/// RFC 9112 §6.3 for responses.
fn response_framing(
    headers: &HeaderMap,
    known: Known,
    version: Version,
    status: StatusCode,
    to: &Method,
) -> Result<Framing, HeadError> {
    let chunked = known.has(Known::TRANSFER_ENCODING) && transfer_coding(headers, version)?;
    let length = content_length(headers)?;
    if chunked && length.is_some() {
        return Err(HeadError::Framing);
    }
    Ok(match (may_have_content(status, to), chunked, length) {
        (false, ..) | (_, false, Some(0)) => Framing::None,
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    })
}

/// Is the content chunked? Anything but one final `chunked` of HTTP/1.1 is refused (RFC 9112 §6.1).
fn transfer_coding(headers: &HeaderMap, version: Version) -> Result<bool, HeadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(false) };
    if version == Version::Http10 {
        return Err(HeadError::Framing);
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(HeadError::TransferCoding);
    }
    Ok(true)
}

/// RFC 9110 §8.6: digits only; equal repetitions are refused too, since two readers may differ.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    let digits = length.as_bytes();
    if lengths.next().is_some() || digits.is_empty() || digits.len() > 19 {
        return Err(HeadError::Framing);
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(HeadError::Framing);
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    Ok(Some(value))
}

/// RFC 9112 §3.2: exactly one Host in 1.1, at most one in 1.0, and nothing in it that is no authority.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), HeadError> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return if version == Version::Http10 { Ok(()) } else { Err(HeadError::Host) };
    };
    let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~:[]!$&'()*+,;=%".contains(octet);
    if hosts.next().is_none() && host.as_bytes().iter().all(fits) { Ok(()) } else { Err(HeadError::Host) }
}

/// What `Connection` says (RFC 9112 §9.3).
struct Persistence {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Persistence {
    fn of(headers: &HeaderMap, known: Known) -> Self {
        let mut said = Self { close: false, keep_alive: false, upgrade: false };
        if !known.has(Known::CONNECTION) {
            return said;
        }
        for token in connection_tokens(headers) {
            said.close |= token.eq_ignore_ascii_case(b"close");
            said.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            said.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
        said
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests;
