//! Does content survive however its records are cut, and however little of it is taken at a time?

use std::io::IoSlice;

use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::issuer::{Ca, HOLDINGS, UI, client, identity, server};
use crate::tls::Alpn;
use crate::tls::session::{Sealed, Session};

/// Both ends, after their handshake.
fn ends() -> [Session; 2] {
    let ca = Ca::new("root");
    let ours = client(identity(&ca.leaf(UI), &ca.pem(), None), &[HOLDINGS]);
    let theirs = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    let name = ours.server_name([127, 0, 0, 1].into());
    let first = UnbufferedClientConnection::new(ours.config(Alpn::Http1), name).unwrap();
    let second = UnbufferedServerConnection::new(theirs.config(Alpn::Either)).unwrap();
    let mut ends = [Session::client(first), Session::server(second)];
    ends[0].begin().unwrap();
    while ends.iter().any(|end| end.state().is_handshaking()) {
        let [near, far] = &mut ends;
        pass_own(near, far);
        pass_own(far, near);
    }
    ends
}

/// Hands over what one end has to say by itself, octet by octet.
fn pass_own(from: &mut Session, to: &mut Session) {
    let mut own = Vec::new();
    from.take_own(&mut own);
    assert!(deliver(to, &own, 1, 1).unwrap().is_empty());
}

/// Content of records that come in pieces of `cut` octets and are read by `room` octets.
fn deliver(to: &mut Session, records: &[u8], cut: usize, room: usize) -> Result<Vec<u8>, Error> {
    let (mut got, mut into) = (Vec::new(), vec![0; room]);
    for piece in records.chunks(cut) {
        let mut came = [to.partial(), piece].concat();
        let count = to.open(&mut came, &mut into)?;
        got.extend_from_slice(&into[..count]);
        while let Some(count) = to.take_content(&mut into) {
            got.extend_from_slice(&into[..count]);
        }
    }
    Ok(got)
}

fn sealed(by: &mut Session, slices: &[&[u8]]) -> (usize, Vec<u8>) {
    let mut sealed = Sealed::default();
    let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let taken = by.seal(&slices, &mut Vec::new(), &mut sealed).unwrap();
    (taken, sealed.as_slice().to_vec())
}

#[test]
fn content_survives_any_cut() {
    let [mut near, mut far] = ends();
    let content: Vec<u8> = (0..40_000_u32).map(|nth| nth.to_le_bytes()[nth as usize % 2]).collect();
    for (cut, room) in [(1, 1), (7, 40_000), (16_384, 100), (20_000, 8192), (60_000, 40_000)] {
        for _ in 0..2 {
            let (taken, records) = sealed(&mut near, &[&content]);
            assert_eq!(taken, content.len());
            assert!(deliver(&mut far, &records, cut, room).unwrap() == content, "{cut} {room}");
            std::mem::swap(&mut near, &mut far);
        }
    }
}

#[test]
fn small_pieces_share_a_record_and_no_more_leaves_than_fits() {
    let [mut near, mut far] = ends();
    let (_, one) = sealed(&mut near, &[b"head and body"]);
    let (_, two) = sealed(&mut near, &[b"head", b" and body"]);
    assert_eq!(one.len(), two.len());
    assert_eq!(deliver(&mut far, &[one, two].concat(), 9, 4).unwrap(), b"head and bodyhead and body");
    let long = vec![7; 60_000];
    let (taken, records) = sealed(&mut near, &[b"head", &long, &long]);
    assert_eq!(taken, 64 * 1024);
    let got = deliver(&mut far, &records, 1 << 20, 1 << 20).unwrap();
    assert_eq!((&got[..5], got.len()), (&b"head\x07"[..], taken));
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    let [mut near, mut far] = ends();
    let mut last = Sealed::default();
    near.close(&mut last).unwrap();
    assert!(deliver(&mut far, last.as_slice(), 3, 9).unwrap().is_empty() && far.is_closed());
    let (_, records) = sealed(&mut far, &[b"still here"]);
    assert_eq!(deliver(&mut near, &records, 5, 9).unwrap(), b"still here");
    assert!(!near.is_closed());
}

#[test]
fn what_was_changed_on_the_way_is_an_error_and_the_peer_is_told() {
    let [mut near, mut far] = ends();
    let (_, mut records) = sealed(&mut near, &[b"content"]);
    records[8] ^= 1;
    assert_eq!(deliver(&mut far, &records, 100, 100), Err(Error::DecryptError));
    let mut alert = Vec::new();
    far.take_own(&mut alert);
    assert!(matches!(deliver(&mut near, &alert, 100, 100), Err(Error::AlertReceived(_))));
}
