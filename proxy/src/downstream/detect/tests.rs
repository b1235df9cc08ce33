use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// `length` octets of a length, and what has it.
fn vector(length: usize, content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&size[4 - length..], content].concat()
}

/// A `ClientHello` with this name behind an extension that is not of interest (RFC 8446 §4.1.2, RFC 6066 §3), within records
/// of so many octets.
fn hello(name: Option<&str>, record: usize) -> Vec<u8> {
    let mut extensions = [&[0, 43][..], &vector(2, &[2, 3, 4])].concat();
    if let Some(name) = name {
        let list = vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat());
        extensions.extend([&[0, 0][..], &vector(2, &list)].concat());
    }
    let mut content = [&[3, 3][..], &[7; 32], &vector(1, &[5; 32])].concat();
    content.extend(vector(2, &[0x13, 1]));
    content.extend(vector(1, &[0]));
    content.extend(vector(2, &extensions));
    let message = [&[1][..], &vector(3, &content)].concat();
    let records = message.chunks(record).map(|part| [&[22, 3, 1][..], &vector(2, part)].concat());
    records.flatten().collect()
}

fn tls(name: Option<&str>) -> Speaks {
    Speaks::Tls { sni: name.map(str::to_owned) }
}

/// What is said first in many protocols, and what it is.
fn first_words() -> Vec<(Vec<u8>, Speaks)> {
    let words = |text: &str, speaks| (text.as_bytes().to_vec(), speaks);
    vec![
        (hello(Some("DB.internal"), 16_384), tls(Some("db.internal"))),
        (hello(Some("db.internal"), 5), tls(Some("db.internal"))),
        (hello(None, 16_384), tls(None)),
        words("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Speaks::Http),
        words("\r\n\r\nOPTIONS * HTTP/1.0\r\n", Speaks::Http),
        words("brew http://a/b?c HTTP/1.1\n", Speaks::Http),
        words("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Speaks::Http),
        words("*1\r\n$4\r\nPING\r\n", Speaks::Opaque),
        words("GET /key\r\n", Speaks::Opaque),
        words("get key another\r\n", Speaks::Opaque),
        words("OPTIONS rtsp://a/b RTSP/1.0\r\n", Speaks::Opaque),
        words("SSH-2.0-OpenSSH_9.2\r\n", Speaks::Opaque),
        words("\0\0\0\u{8}\u{4}\u{d2}\u{16}/", Speaks::Opaque),
        words("a_word_that_is_longer_than_any_method ", Speaks::Opaque),
        words("GET /a\u{1}b HTTP/1.1\r\n", Speaks::Opaque),
        (vec![22, 3, 1, 0, 0], Speaks::Opaque),
        (vec![22, 3, 1, 0, 4, 2, 0, 0, 0], Speaks::Opaque),
        (vec![22, 3, 1, 0x40, 1], Speaks::Opaque),
        (vec![22, 2, 0, 0], Speaks::Opaque),
        (vec![21, 3, 1, 0, 2, 1, 0], Speaks::Opaque),
    ]
}

#[test]
fn u_19_the_first_octets_show_what_is_spoken_wherever_they_are_split() {
    for (octets, speaks) in first_words() {
        let shown = String::from_utf8_lossy(&octets).into_owned();
        assert_eq!(look(&octets), Ok(speaks.clone()), "{shown:?}");
        for split in 0..octets.len() {
            if let Ok(early) = look(&octets[..split]) {
                assert_eq!(early, speaks, "{shown:?} at {split}");
            }
        }
    }
}

#[test]
fn a_beginning_is_taken_for_what_it_would_become() {
    let taken = |octets: &[u8]| look(octets).unwrap_err().0;
    assert_eq!(taken(b""), Speaks::Opaque, "who says nothing may listen for a server that speaks first");
    assert_eq!(taken(b"\r\n"), Speaks::Opaque);
    assert_eq!(taken(b"G"), Speaks::Http);
    assert_eq!(taken(b"POST /slowly"), Speaks::Http, "half a request is no way around HTTP's policies");
    assert_eq!(taken(b"POST /slowly HT"), Speaks::Http);
    assert_eq!(taken(b"HELO"), Speaks::Opaque);
    assert_eq!(taken(b"PRI * HTTP"), Speaks::Http);
    assert_eq!(taken(&hello(Some("a"), 100)[..60]), tls(None));
}

/// A hello with one length that claims more or less than there is.
fn misshapen() -> impl Strategy<Value = Vec<u8>> {
    (hello_of_any(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut octets, at, with)| {
        let at = at.index(octets.len());
        octets[at] = with;
        octets
    })
}

fn hello_of_any() -> impl Strategy<Value = Vec<u8>> {
    (proptest::option::of("[a-zA-Z0-9.-]{1,60}"), 1..300_usize)
        .prop_map(|(name, record)| hello(name.as_deref(), record))
}

proptest! {
    #[test]
    fn what_was_decided_stays_decided(
        octets in prop_oneof![
            vec(any::<u8>(), 0..200),
            misshapen(),
            "[A-Z]{0,5} ?/?[a-z]{0,5} ?H?T?T?P?/?[12]?\r?\n?".prop_map(String::into_bytes),
        ],
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(octets.len() + 1);
        if let Ok(early) = look(&octets[..cut]) {
            prop_assert_eq!(look(&octets), Ok(early));
        }
    }

    #[test]
    fn a_name_is_read_whatever_the_records(name in "[a-z0-9.-]{1,100}", record in 1..300_usize) {
        prop_assert_eq!(look(&hello(Some(&name), record)), Ok(tls(Some(&name))));
    }
}
