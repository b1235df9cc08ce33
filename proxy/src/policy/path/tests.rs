//! Does every spelling of a path come to its one form, or to none?

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

const KEEP: Paths =
    Paths { escaped_slashes: Oddity::Keep, empty_segments: Oddity::Keep, parameters: Oddity::Keep };

fn strict(path: &str) -> Result<(String, String), Ambiguity> {
    settle(path, &Paths::default()).map(|settled| (settled.sent, settled.seen))
}

#[track_caller]
fn comes_to(path: &str, sent: &str, seen: &str) {
    assert_eq!(strict(path), Ok((sent.to_owned(), seen.to_owned())), "{path}");
}

/// What an application makes of a path in the end: decoded once, backslashes turned, parameters dropped, slashes merged,
/// dot segments removed.
fn lenient(path: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = path.as_bytes();
    while let [octet, tail @ ..] = rest {
        (octets, rest) = match (octet, tail) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                octets.push(hex(*high).unwrap() << 4 | hex(*low).unwrap());
                (octets, tail)
            }
            _ => {
                octets.push(if *octet == b'\\' { b'/' } else { *octet });
                (octets, tail)
            }
        };
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in octets.split(|octet| *octet == b'/' || *octet == b'\\') {
        match segment.split(|octet| *octet == b';').next().unwrap_or_default() {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    [b"/", kept.join(&b'/').as_slice()].concat()
}

/// Paths out of all that is odd in a path.
fn odd_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("admin"),
        Just("a"),
        Just("/"),
        Just("/"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E"),
        Just("%2f"),
        Just("%5c"),
        Just("\\"),
        Just(";"),
        Just("%3b"),
        Just("%61"),
        Just("%25"),
        Just("2e"),
        Just("%"),
        Just("%00"),
        Just("%c0%ae"),
        Just("%C3%A9"),
        Just(":"),
        Just("%3A"),
        Just("%20"),
        Just("é"),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn se_4_the_form_is_one_and_stays(path in odd_path()) {
        for keep in [Paths::default(), KEEP] {
            let Ok(settled) = settle(&path, &keep) else { continue };
            prop_assert_eq!(settle(&settled.sent, &keep), Ok(settled), "settled once is settled");
        }
    }

    #[test]
    fn se_4_no_lenient_application_reads_more_than_rules_see(path in odd_path()) {
        for keep in [Paths::default(), KEEP] {
            let Ok(Settled { sent, seen }) = settle(&path, &keep) else { continue };
            let read = lenient(&sent);
            prop_assert_eq!(
                String::from_utf8_lossy(&read), seen.strip_suffix('/').filter(|seen| !seen.is_empty()).unwrap_or(&seen),
                "of {}, sent as {}", path, sent
            );
        }
    }

    #[test]
    fn se_4_what_is_plain_is_its_own_form(path in odd_path()) {
        if is_plain(&path) {
            prop_assert_eq!(strict(&path), Ok((path.clone(), path)));
        }
    }

    #[test]
    fn se_4_any_octet_may_be_encoded_and_is_seen_as_itself(text in "[a-zA-Z0-9._~!$&'()*+,=:@ é-]{1,8}", upper in any::<bool>()) {
        prop_assume!(!text.bytes().all(|octet| octet == b'.'));
        let encoded = text.bytes().fold(String::from("/"), |mut all, octet| {
            let _ = if upper { write!(all, "%{octet:02X}") } else { write!(all, "%{octet:02x}") };
            all
        });
        let (sent, seen) = strict(&encoded).unwrap();
        prop_assert_eq!(seen, format!("/{text}"));
        prop_assert!(sent.is_ascii() && !sent.contains("%61"));
    }
}

#[test]
fn se_4_unreserved_octets_are_decoded_and_digits_raised() {
    comes_to("/%61dm%69n", "/admin", "/admin");
    comes_to("/a%3ab%c3%a9", "/a%3Ab%C3%A9", "/a:bé");
    comes_to("/a%20b%3f%23", "/a%20b%3F%23", "/a b?#");
    comes_to("/100%25", "/100%25", "/100%");
    comes_to("/%7Euser/%2Ehidden", "/~user/.hidden", "/~user/.hidden");
}

#[test]
fn se_4_dot_segments_go_as_rfc_3986_says() {
    for (path, form) in [
        ("/a/b/c/./../../g", "/a/g"),
        ("/.", "/"),
        ("/..", "/"),
        ("/../../admin", "/admin"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a/../", "/"),
        ("/a/./", "/a/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a/..b/.c", "/a/..b/.c"),
    ] {
        comes_to(path, form, form);
    }
}

#[test]
fn se_4_what_two_readers_may_read_differently_has_no_form() {
    use Ambiguity::*;
    for (path, why) in [
        ("/a%2Fb", EscapedSlash),
        ("/a%2fb", EscapedSlash),
        ("//admin", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a/..//b", EmptySegment),
        ("/admin;x", Parameter),
        ("/..;/admin", Parameter),
        ("/admin%3Bx", Parameter),
        ("/a\\b", Backslash),
        ("/a%5Cb", Backslash),
        ("/a/%2e%2e/b", DotSegment),
        ("/a/.%2E/b", DotSegment),
        ("/a/%2e/b", DotSegment),
        ("/a/%2e", DotSegment),
        ("/a%", Encoding),
        ("/a%4", Encoding),
        ("/a%zz", Encoding),
        ("/%u002e", Encoding),
        ("/%252e%252e/", Encoding),
        ("/%25%32%65", Encoding),
        ("/%c0%ae", Encoding),
        ("/%e0%80%af", Encoding),
        ("/%ff", Encoding),
        ("/a%00", Octet),
        ("/a%0d%0a", Octet),
        ("/a%7f", Octet),
        ("/é", Octet),
        ("/a\tb", Octet),
        ("admin", Octet),
        ("", Octet),
    ] {
        assert_eq!(strict(path), Err(why), "{path}");
        assert!(!is_plain(path), "{path}");
    }
}

#[test]
fn se_4_what_is_kept_goes_on_as_it_came_and_is_seen_as_the_most_lenient_would() {
    let kept = |path| settle(path, &KEEP).map(|settled| (settled.sent, settled.seen));
    for (path, sent, seen) in [
        ("/projects/a%2fb", "/projects/a%2Fb", "/projects/a/b"),
        ("//a///b//", "//a///b//", "/a/b/"),
        ("/a;x=1/b;y", "/a;x=1/b;y", "/a/b"),
        ("/;x/admin", "/;x/admin", "/admin"),
        ("/a%3bx%2fadmin", "/a%3Bx%2Fadmin", "/a/admin"),
    ] {
        assert_eq!(kept(path), Ok((sent.to_owned(), seen.to_owned())), "{path}");
    }
    for path in ["/a/..;/b", "/a%2F..%2Fb", "/a//../b", "/a/.;x", "/a/%2e%2e/b", "/x;y/../b"] {
        assert_eq!(kept(path), Err(Ambiguity::DotSegment), "{path}");
    }
}
