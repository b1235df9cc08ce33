//! Examples and properties of content.

use std::future::poll_fn;
use std::task::Poll;

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::http1::{Encoder, Wire};
use crate::message::framing::FORBIDDEN_TRAILERS;

const LIMITS: TrailerLimits = TrailerLimits { bytes: 8 << 10, fields: 64 };

/// What came out: content, trailers, and how many octets were left.
type Decoded = (Vec<u8>, HeaderMap, usize);

/// Decodes `pieces` one after the other, as reads bring them.
fn decode<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, Malformation> {
    let mut decoder = Decoder::new(framing, LIMITS);
    let (mut content, mut trailers, mut left) = (Vec::new(), HeaderMap::new(), 0);
    for piece in pieces {
        let mut input = piece;
        loop {
            match decoder.decode(&mut input)? {
                Chunk::Data(data) => {
                    assert!(!data.is_empty());
                    content.extend_from_slice(data);
                }
                Chunk::More => break,
                Chunk::End(fields) => {
                    trailers.extend(fields.into_iter().flat_map(|fields| *fields));
                    left += input.len();
                    break;
                }
            }
        }
    }
    decoder.finish()?;
    Ok((content, trailers, left))
}

fn chunked(wire: impl AsRef<[u8]>) -> Result<Decoded, Malformation> {
    decode(Framing::Chunked, [wire.as_ref()])
}

fn refused(wire: impl AsRef<[u8]>) -> Malformation {
    chunked(wire).expect_err("it is refused")
}

/// Cuts `wire` at these places.
fn cut<'a>(wire: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = at.iter().map(|index| index.index(wire.len() + 1)).collect();
    at.extend([0, wire.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect()
}

/// Content in these chunks, with an extension in each, and a trailer.
fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (nth, chunk) in chunks.iter().enumerate().filter(|(_, chunk)| !chunk.is_empty()) {
        let size =
            if nth % 2 == 0 { format!("{:x}", chunk.len()) } else { format!("00{:X};a=\"b\"", chunk.len()) };
        wire.extend_from_slice(size.as_bytes());
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nx-digest: 1\r\n\r\n");
    wire
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

proptest! {
    #[test]
    fn pieces_do_not_matter(chunks in chunks(), cuts in cuts(), next in prop::collection::vec(any::<u8>(), 0..9)) {
        let content = chunks.concat();
        let wire = encode(&chunks);
        let (got, trailers, left) = decode(Framing::Chunked, cut(&wire, &cuts)).unwrap();
        prop_assert_eq!((&got, &trailers["x-digest"], left), (&content, &HeaderValue::from_static("1"), 0));

        let framed = [&content[..], &next].concat();
        let (got, _, left) = decode(Framing::Length(content.len() as u64), cut(&framed, &cuts)).unwrap();
        prop_assert_eq!((&got, left), (&content, next.len()), "what follows is not content");

        let (got, _, _) = decode(Framing::UntilClose, cut(&content, &cuts)).unwrap();
        prop_assert_eq!(got, content);
    }

    #[test]
    fn no_octets_make_the_decoder_panic(
        start in prop_oneof![Just(""), Just("5\r\nhello\r\n"), Just("0\r\n"), Just("ffff")],
        octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b';')], 0..60),
        cuts in cuts(),
    ) {
        let wire = [start.as_bytes(), &octets].concat();
        let whole = chunked(&wire);
        prop_assert_eq!(decode(Framing::Chunked, cut(&wire, &cuts)), whole, "pieces don't matter for faults either");
    }

    #[test]
    fn content_that_is_cut_off_is_truncated(chunks in chunks(), at: prop::sample::Index) {
        let (wire, content) = (encode(&chunks), chunks.concat());
        prop_assert_eq!(chunked(&wire[..at.index(wire.len())]), Err(Malformation::Truncated));
        if !content.is_empty() {
            let short = decode(Framing::Length(content.len() as u64), [&content[..at.index(content.len())]]);
            prop_assert_eq!(short, Err(Malformation::Truncated));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_encoded_decodes_to_itself(chunks in chunks()) {
        let chunks: Vec<_> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let content = chunks.concat();
        let length = content.len() as u64;
        for framing in [Framing::Chunked, Framing::Length(length), Framing::UntilClose] {
            let wire = through_the_encoder(framing, &chunks);
            prop_assert_eq!(&decode(framing, [&wire[..]]).unwrap().0, &content, "{:?}", framing);
        }
    }
}

/// What an encoder writes, as the other end of a connection reads it.
fn through_the_encoder(framing: Framing, chunks: &[Vec<u8>]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut reader = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut wire = Wire::new(listener.accept().await.unwrap().0);
        let mut encoder = Encoder::new(framing);
        poll_fn(|cx| {
            for chunk in chunks {
                encoder.push(cx, &mut wire, chunk).unwrap();
            }
            encoder.finish(&mut wire, None).unwrap();
            Poll::Ready(())
        })
        .await;
        assert!(encoder.is_done());
        poll_fn(|cx| wire.poll_flush(cx)).await.unwrap();
        drop(wire);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        read
    })
}

#[test]
fn chunk_sizes_are_hexadecimal_and_nothing_else() {
    for size in ["", "-1", "+1", "0x1", " 1", "\t1", "g", "1 1", "1g", "1,1", "１"] {
        assert_eq!(refused(format!("{size}\r\na\r\n0\r\n\r\n")), Malformation::Chunk, "{size:?}");
    }
    for size in ["1", "01", "000000000000001"] {
        assert_eq!(chunked(format!("{size}\r\na\r\n0\r\n\r\n")).unwrap().0, b"a", "{size:?}");
    }
    assert_eq!(chunked("A\r\n0123456789\r\n0\r\n\r\n").unwrap().0.len(), 10);
}

#[test]
fn a_chunk_size_cannot_overflow() {
    for size in ["10000000000000000", "ffffffffffffffff", "0000000000000001", "1000000000000000"] {
        assert_eq!(refused(format!("{size}\r\na")), Malformation::Chunk, "{size}");
    }
    assert_eq!(
        refused("fffffffffffffff\r\na"),
        Malformation::Truncated,
        "the largest is read, and waited for"
    );
}

#[test]
fn lines_of_the_coding_end_with_cr_lf_alone() {
    let wires = [
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r\n0\n\r\n",
        "1;x\na\r\n0\r\n\r\n",
        "1\ra\r\n0\r\n\r\n",
        "1\r\r\na\r\n0\r\n\r\n",
        "1;x\ry\r\na\r\n0\r\n\r\n",
        "1;\u{0}\r\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\r\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
    ];
    for wire in wires {
        assert_eq!(refused(wire), Malformation::Chunk, "{wire:?}");
    }
}

#[test]
fn trailer_lines_end_with_cr_lf_alone() {
    for wire in ["0\r\nx: 1\n\r\n", "0\r\nx: 1\n\n", "0\r\n\n\r\n\r\n", "0\r\nx: 1\r\n\n\r\n\r\n"] {
        assert!(chunked(wire).is_err(), "{wire:?}");
    }
}

#[test]
fn limit_extensions_of_a_whole_body_are_bounded() {
    let wire = |each: usize, count: usize| {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(each - 1));
        chunk.repeat(count) + "0\r\n\r\n"
    };
    assert!(chunked(wire(16 << 10, 1)).is_ok());
    assert_eq!(refused(wire((16 << 10) + 1, 1)), Malformation::Extensions);
    assert!(chunked(wire(1 << 10, 16)).is_ok());
    assert_eq!(refused(wire(1 << 10, 17)), Malformation::Extensions, "many small ones are as many");
}

#[test]
fn limit_trailers_are_bounded_in_octets_and_lines() {
    let octets = |count: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(count - 5));
    assert!(chunked(octets(8 << 10)).is_ok());
    assert_eq!(refused(octets((8 << 10) + 1)), Malformation::TrailersTooLarge);
    let lines = |count| format!("0\r\n{}\r\n", "x: 1\r\n".repeat(count));
    assert_eq!(chunked(lines(64)).unwrap().1.len(), 64);
    assert_eq!(refused(lines(65)), Malformation::TrailersTooLarge);
}

#[test]
fn trailers_cannot_change_what_was_decided_already() {
    for name in FORBIDDEN_TRAILERS {
        assert_eq!(refused(format!("0\r\n{name}: 1\r\n\r\n")), Malformation::Trailers, "{name}");
    }
    for name in ["X-Forwarded-Client-Cert", "x_forwarded_client-cert"] {
        assert_eq!(refused(format!("0\r\n{name}: 1\r\n\r\n")), Malformation::Trailers, "{name}");
    }
    for line in ["x : 1", ": 1", "x", " x: 1", "x: 1\r\n 2", "x: \u{0}", "é: 1", "x: 1\r2"] {
        assert_eq!(refused(format!("0\r\n{line}\r\n\r\n")), Malformation::Trailers, "{line:?}");
    }
}

#[test]
fn no_content_is_complete_at_once() {
    for framing in [Framing::None, Framing::Length(0)] {
        let decoder = Decoder::new(framing, LIMITS);
        assert!(decoder.is_done());
        assert_eq!(decode(framing, [&b"next"[..]]), Ok((Vec::new(), HeaderMap::new(), 4)));
    }
}
