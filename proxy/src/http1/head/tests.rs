//! Examples and properties of heads.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 64 << 10, fields: 100, target: 16 << 10 };

fn request(head: &str) -> Result<RequestHead, HeadError> {
    let parsed = parse_request(head.as_bytes(), &LIMITS, &Scratch::default())?;
    let (parsed, taken) = parsed.unwrap_or_else(|| panic!("incomplete: {head:?}"));
    assert_eq!(taken, head.len());
    Ok(parsed)
}

fn response(head: &str, to: &Method) -> Result<ResponseHead, HeadError> {
    let parsed = parse_response(head.as_bytes(), &LIMITS, &Scratch::default(), to)?;
    Ok(parsed.unwrap_or_else(|| panic!("incomplete: {head:?}")).0)
}

/// A POST with these field lines after a good Host.
fn post(fields: &str) -> Result<RequestHead, HeadError> {
    request(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
}

fn field() -> impl Strategy<Value = (String, String)> {
    ("x-[a-zA-Z0-9!#$%&'*+.^_`|~-]{0,12}", "[!-~]([ -~\t]{0,20}[!-~])?")
}

prop_compose! {
    fn valid_request()(
        method in "[A-Z]{1,10}",
        path in "/[a-z0-9/._~%?=&-]{0,40}",
        minor in 0..=1,
        host in "[a-z0-9.-]{1,20}(:[0-9]{1,5})?",
        fields in proptest::collection::vec(field(), 0..12),
        length in proptest::option::of(0u64..1 << 60),
    ) -> String {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        let length = length.map_or(String::new(), |length| format!("Content-Length: {length}\r\n"));
        format!("{method} {path} HTTP/1.{minor}\r\nHost: {host}\r\n{}{length}\r\n", fields.concat())
    }
}

/// Octets that look enough like a head to get far into the parser.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("HTTP/1.1 200 OK\r\n"),
        Just("host: a\r\n"),
        Just("content-length: 1\r\n"),
        Just("transfer-encoding: chunked\r\n"),
        Just("\r\n"),
        Just(":"),
        Just("\n"),
        Just("\0"),
        Just(" "),
    ]
    .prop_map(|word| word.as_bytes().to_vec());
    let octets = proptest::collection::vec(any::<u8>(), 0..8);
    proptest::collection::vec(prop_oneof![4 => word, 1 => octets], 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_prefix_of_a_valid_head_is_incomplete_and_what_follows_is_not_taken(
        head in valid_request(),
        rest in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let scratch = Scratch::default();
        for end in 0..head.len() {
            let parsed = parse_request(&head.as_bytes()[..end], &LIMITS, &scratch);
            prop_assert!(matches!(parsed, Ok(None)), "{:?}: {parsed:?}", &head[..end]);
        }
        let whole = [head.as_bytes(), &rest].concat();
        let (_, taken) = parse_request(&whole, &LIMITS, &scratch).unwrap().unwrap();
        prop_assert_eq!(taken, head.len());
    }

    #[test]
    fn fields_come_out_as_they_went_in(fields in proptest::collection::vec(field(), 0..20)) {
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value} \r\n")).collect();
        let head = post(&lines.concat()).unwrap();
        for (name, _) in &fields {
            let wanted: Vec<_> =
                fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_bytes()).collect();
            let got: Vec<_> = head.headers.get_all(name.as_str()).iter().map(HeaderValue::as_bytes).collect();
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn no_octets_make_the_parser_panic(octets in nearly_a_head()) {
        let _ = parse_request(&octets, &LIMITS, &Scratch::default());
        let _ = parse_response(&octets, &LIMITS, &Scratch::default(), &Method::GET);
    }
}

#[test]
fn contradicting_framing_is_refused() {
    let fields = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 5 5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5.0\r\n",
        "content-length:\r\n",
        "content-length: \r\n",
        "content-length: 99999999999999999999\r\n",
    ];
    for fields in fields {
        assert_eq!(post(fields).unwrap_err(), HeadError::Framing, "{fields:?}");
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert_eq!(response(&answer, &Method::GET).unwrap_err(), HeadError::Framing, "{fields:?}");
    }
    let http10 = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(request(http10).unwrap_err(), HeadError::Framing);
    let http10 = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(response(http10, &Method::GET).unwrap_err(), HeadError::Framing);
}

#[test]
fn only_a_single_chunked_is_a_transfer_coding() {
    let codings = [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "identity",
        "",
        "chunked\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: identity",
    ];
    for coding in codings {
        let fields = format!("transfer-encoding: {coding}\r\n");
        assert_eq!(post(&fields).unwrap_err(), HeadError::TransferCoding, "{coding:?}");
    }
    for coding in ["chunked", "Chunked", "CHUNKED", " chunked "] {
        assert_eq!(
            post(&format!("transfer-encoding:{coding}\r\n")).unwrap().framing,
            Framing::Chunked,
            "{coding:?}"
        );
    }
}

#[test]
fn what_two_parsers_read_differently_is_no_head() {
    let heads = [
        ("a folded line", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n"),
        ("a folded first line", "GET / HTTP/1.1\r\n host: a\r\n\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n"),
        ("a bare CR as line end", "GET / HTTP/1.1\r\nhost: a\rx: 1\r\n\r\n"),
        ("a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\u{0}2\r\n\r\n"),
        ("a NUL in a name", "GET / HTTP/1.1\r\nhost: a\r\nx\u{0}: 1\r\n\r\n"),
        ("a space before the colon", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 5\r\n\r\n"),
        ("a tab before the colon", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n"),
        ("an empty name", "GET / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n"),
        ("a line without colon", "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n"),
        ("a non-ASCII name", "GET / HTTP/1.1\r\nhost: a\r\né: 1\r\n\r\n"),
        ("a fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("two spaces", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a control in the target", "GET /a\u{1} HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a relative target", "GET a/b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("an authority without CONNECT", "GET b:81 HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a relative target that looks like a host", "GET b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("no method", " / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a method that is no token", "G(T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ];
    for (what, head) in heads {
        assert_eq!(request(head).map(|head| head.target), Err(HeadError::Syntax), "{what}");
    }
}

#[test]
fn versions_other_than_1_are_refused() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3", "http/1.1", "HTTP/1.10", "b HTTP/1.1"] {
        let refused =
            request(&format!("GET / {version}\r\nhost: a\r\n\r\n")).map(|head| head.version).unwrap_err();
        assert!(matches!(refused, HeadError::Version | HeadError::Syntax), "{version}: {refused:?}");
    }
}

#[test]
fn there_is_exactly_one_host_and_it_is_an_authority() {
    let with = |hosts: &str| request(&format!("GET / HTTP/1.1\r\n{hosts}\r\n")).map(|_| ());
    for good in ["a", "a.b:80", "[::1]:8080", "a_b", "a-b.c", "127.0.0.1", ""] {
        assert_eq!(with(&format!("host: {good}\r\n")), Ok(()), "{good:?}");
    }
    for bad in ["a b", "a/b", "a@b", "a?b", "a#b", "a\\b", "a,b c", "a\tb", "<a>", "\"a\"", "ä"] {
        assert_eq!(with(&format!("host: {bad}\r\n")), Err(HeadError::Host), "{bad:?}");
    }
    assert_eq!(with(""), Err(HeadError::Host));
    assert_eq!(with("host: a\r\nhost: a\r\n"), Err(HeadError::Host));
    assert_eq!(with("host: a\r\nHost: b\r\n"), Err(HeadError::Host));
    assert!(request("GET / HTTP/1.0\r\n\r\n").is_ok(), "HTTP/1.0 knows no Host");
    assert_eq!(request("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n").map(|_| ()), Err(HeadError::Host));
}

#[test]
fn all_four_forms_of_a_target_are_read() {
    let target = |line: &str| request(&format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n")).map(|head| head.target);
    assert_eq!(target("GET /a?b=c").unwrap().path_and_query().unwrap(), "/a?b=c");
    let absolute = target("GET http://b:81/a?b").unwrap();
    assert_eq!((absolute.authority().unwrap().as_str(), absolute.path()), ("b:81", "/a"));
    assert_eq!(target("CONNECT b:443").unwrap().authority().unwrap().as_str(), "b:443");
    assert_eq!(target("OPTIONS *").unwrap().path(), "*");
}

#[test]
fn credentials_in_a_target_are_refused() {
    let head = "GET http://user:secret@origin/ HTTP/1.1\r\nhost: origin\r\n\r\n";
    assert_eq!(request(head).map(|_| ()), Err(HeadError::Host), "RFC 9110 §4.2.4");
}

#[test]
fn limits_are_exact() {
    let head = "GET /234567 HTTP/1.1\r\nhost: a\r\nx: 1\r\ny: 2\r\n\r\n";
    let exact = HeadLimits { bytes: head.len(), fields: 3, target: 7 };
    let with =
        |limits| parse_request(head.as_bytes(), &limits, &Scratch::default()).map(|head| head.is_some());
    assert_eq!(with(exact), Ok(true));
    assert_eq!(with(HeadLimits { bytes: head.len() - 1, ..exact }), Err(HeadError::TooLarge));
    assert_eq!(with(HeadLimits { fields: 2, ..exact }), Err(HeadError::TooManyFields));
    assert_eq!(with(HeadLimits { target: 6, ..exact }), Err(HeadError::TargetTooLong));
}

#[test]
fn an_endless_head_is_refused_before_its_end() {
    let limits = HeadLimits { bytes: 100, fields: 100, target: 50 };
    let with =
        |head: &str| parse_request(head.as_bytes(), &limits, &Scratch::default()).map(|head| head.is_some());
    let target = |len| format!("GET {}", "/".repeat(len));
    assert_eq!(with(&target(50)), Ok(false));
    assert_eq!(with(&target(51)), Err(HeadError::TargetTooLong));
    let head = |len| format!("{:x<len$}", "GET / HTTP/1.1\r\nx: ");
    assert_eq!(with(&head(99)), Ok(false));
    assert_eq!(with(&head(100)), Err(HeadError::TooLarge));
}

#[test]
fn two_hundred_fields_are_the_most() {
    let limits = HeadLimits { fields: 200, ..LIMITS };
    let with = |count| {
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(count));
        parse_response(head.as_bytes(), &limits, &Scratch::default(), &Method::GET).map(|head| head.is_some())
    };
    assert_eq!((with(200), with(201)), (Ok(true), Err(HeadError::TooManyFields)));
}

#[test]
fn persistence_is_what_version_and_connection_say() {
    let table = [
        ("1.1", "", true),
        ("1.1", "close", false),
        ("1.1", "Close", false),
        ("1.1", "x, close", false),
        ("1.1", "keep-alive, close", false),
        ("1.1", "closed", true),
        ("1.0", "", false),
        ("1.0", "keep-alive", true),
        ("1.0", "Keep-Alive", true),
        ("1.0", "keep-alive, close", false),
        ("1.1", "x\r\nconnection: close", false),
    ];
    for (version, said, kept) in table {
        let head = format!("GET / HTTP/{version}\r\nhost: a\r\nconnection: {said}\r\n\r\n");
        assert_eq!(request(&head).unwrap().keep_alive, kept, "{version} {said:?}");
    }
}

#[test]
fn the_end_of_a_response_depends_on_what_was_asked() {
    let framing = |status, fields, to: &Method| {
        let head = response(&format!("HTTP/1.1 {status} X\r\n{fields}\r\n"), to).unwrap();
        (head.framing, head.keep_alive)
    };
    let (length, chunked) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
    assert_eq!(framing(200, length, &Method::GET), (Framing::Length(5), true));
    assert_eq!(framing(200, chunked, &Method::GET), (Framing::Chunked, true));
    assert_eq!(framing(200, "", &Method::GET), (Framing::UntilClose, false));
    assert_eq!(framing(200, "content-length: 0\r\n", &Method::GET), (Framing::None, true));
    for fields in [length, chunked, ""] {
        assert_eq!(framing(200, fields, &Method::HEAD), (Framing::None, true));
        for status in [100, 103, 204, 304] {
            assert_eq!(framing(status, fields, &Method::GET), (Framing::None, true), "{status} {fields:?}");
        }
    }
}

#[test]
fn expectations_count_where_content_is_to_come() {
    let expects = |fields: &str| post(fields).unwrap().expects_continue;
    assert!(expects("expect: 100-continue\r\ncontent-length: 1\r\n"));
    assert!(expects("expect: 100-Continue\r\ntransfer-encoding: chunked\r\n"));
    assert!(!expects("expect: 100-continue\r\n"));
    assert!(!expects("expect: 100-continue\r\ncontent-length: 0\r\n"));
    let http10 = "POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
    assert!(!request(http10).unwrap().expects_continue, "RFC 9110 §10.1.1");
}
