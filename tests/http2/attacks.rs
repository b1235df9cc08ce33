//! What do floods of HTTP/2 frames do? Each is cut off before it costs anybody anything (REQUIREMENTS SE-5).

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::attacked::Victim;
use super::{GET, POST, with};
use crate::support::frames::{Frame, REMEMBERED, block, code, flag, kind, octets, remember, setting};
use crate::support::link::Link;
use crate::support::origin::Reply;
use crate::support::peer::End;

/// Frames of a flood. Any limit is far below.
const MANY: usize = 100_000;

/// How a connection ended: the code of a GOAWAY, if one came, and the end.
type Cut = (Option<u32>, End);

/// Sends all of it after an orderly begin, while it reads what comes; `octets` begin with what opens stream 1, if anything.
fn flood(victim: SocketAddr, octets: &[u8]) -> Cut {
    let mut link = Link::connect(victim);
    link.sync().expect("the victim is well");
    link.peer.stream.set_write_timeout(Some(Duration::from_secs(1))).expect("it is open");
    let mut writing = link.peer.stream.try_clone().expect("a descriptor is free");
    thread::scope(|scope| {
        scope.spawn(move || drop(writing.write_all(octets)));
        drained(&mut link)
    })
}

/// Reads frames, answering none, up to the end.
fn drained(link: &mut Link) -> Cut {
    let mut said = None;
    loop {
        match link.frame() {
            Ok(frame) if frame.kind == kind::GOAWAY => said = Some(frame.number(4)),
            Ok(_) => {}
            Err(end) => return (said, end),
        }
    }
}

/// The flood is cut off, said why, and counted.
#[track_caller]
fn is_cut_off(octets: &[u8], limit: &str) {
    let victim = Victim::answering();
    let (said, end) = victim.under(|inbound| flood(inbound, octets));
    assert_ne!(end, End::Open, "it is not cut off");
    assert!(said.is_none_or(|said| said == code::ENHANCE_YOUR_CALM), "{said:?}");
    victim.counted(limit);
}

/// So many streams, each with these frames.
fn streams(count: u32, frames: impl Fn(u32) -> Vec<Frame>) -> Vec<u8> {
    octets((0..count).flat_map(|nth| frames(nth * 2 + 1)))
}

/// A request, and a change of mind (CVE-2023-44487).
fn rapid_reset(stream: u32) -> Vec<Frame> {
    vec![Frame::headers(stream, &GET, true), Frame::reset(stream, code::CANCEL)]
}

#[test]
fn se_5_rapid_reset_of_20_000_streams() {
    is_cut_off(&streams(20_000, rapid_reset), "http2-resets");
}

/// One at a time, each when the application has it: no codec takes offence at that. What is under way while the last
/// reset is counted still goes through, so that the limit must lie below what the application may see.
#[test]
fn se_5_rapid_reset_of_requests_under_way() {
    let victim = Victim::new("limits: {http2: {resets: 100}}", |_| Reply::Hang);
    let (said, end) = victim.under(|inbound| {
        let mut link = Link::connect(inbound);
        for nth in 0..1000 {
            let (stream, until) = (link.open(&GET, true), Instant::now() + Duration::from_millis(200));
            while victim.requests() <= nth && Instant::now() < until {
                thread::sleep(Duration::from_micros(100));
            }
            if victim.requests() <= nth {
                break;
            }
            link.send(&Frame::reset(stream, code::CANCEL));
        }
        link.end()
    });
    assert!(said.is_none_or(|said| said == code::ENHANCE_YOUR_CALM) && end != End::Open, "{said:?} {end:?}");
    victim.counted("http2-resets");
}

/// The upstream's connection is everybody's: it must not end because one caller resets too much.
#[test]
fn se_5_rapid_reset_before_an_application_of_http2() {
    let victim = Victim::of_http2();
    let (_, end) = victim.under(|inbound| flood(inbound, &streams(20_000, rapid_reset)));
    assert_ne!(end, End::Open, "it is not cut off");
    victim.counted("http2-resets");
}

/// Each of the hundred stays below what one connection may do; together they cost no more.
#[test]
fn se_5_rapid_reset_on_100_connections() {
    let resets = streams(200, rapid_reset);
    let victim = Victim::answering();
    victim.under(|inbound| {
        let mut links: Vec<_> = (0..100).map(|_| Link::connect(inbound)).collect();
        for link in &mut links {
            link.peer.send(&resets);
        }
        // Whoever is still there has been read to the last frame.
        for link in &mut links {
            let _ = link.sync();
        }
    });
}

/// Resets that we send because we must (CVE-2025-8671) cost as much as those that we receive. Where the connection ends
/// at the first fault, there is nothing to count.
#[track_caller]
fn provokes(frames: impl Fn(u32) -> Vec<Frame>) {
    let victim = Victim::answering();
    let (said, end) = victim.under(|inbound| flood(inbound, &streams(10_000, frames)));
    assert_ne!(end, End::Open, "it is not cut off");
    match said {
        Some(code::PROTOCOL_ERROR | code::STREAM_CLOSED) => {}
        Some(code::ENHANCE_YOUR_CALM) | None => victim.counted("http2-resets"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn se_5_resets_provoked_by_windows_of_nothing() {
    provokes(|stream| vec![Frame::headers(stream, &POST, false), Frame::window(stream, 0)]);
}

#[test]
fn se_5_resets_provoked_by_windows_too_wide() {
    provokes(|stream| vec![Frame::headers(stream, &POST, false), Frame::window(stream, (1 << 31) - 1)]);
}

#[test]
fn se_5_resets_provoked_by_content_after_the_end() {
    provokes(|stream| vec![Frame::headers(stream, &GET, true), Frame::data(stream, *b"more", true)]);
}

#[test]
fn se_5_resets_provoked_by_a_wrong_length() {
    let head = with(&POST, &[("content-length", "5")]);
    provokes(|stream| vec![Frame::headers(stream, &head, false), Frame::data(stream, *b"x", true)]);
}

#[test]
fn se_5_resets_provoked_by_malformed_heads() {
    let head = with(&GET, &[(":path", "/twice")]);
    provokes(|stream| vec![Frame::headers(stream, &head, true)]);
}

/// A head that never ends (CVE-2024-27316).
fn endless_head(part: &[u8], count: usize) -> Vec<u8> {
    let first = Frame::new(kind::HEADERS, flag::END_STREAM, 1, block(&GET));
    [first.octets(), Frame::continuation(1, part, false).octets().repeat(count)].concat()
}

#[test]
fn se_5_continuation_flood() {
    is_cut_off(&endless_head(&block(&[("x", "y")]), MANY), "http2-continuation");
}

#[test]
fn se_5_continuation_flood_of_nothing() {
    is_cut_off(&endless_head(b"", MANY), "http2-continuation");
}

#[test]
fn se_5_continuation_flood_of_large_parts() {
    let large = block(&[("x", &"y".repeat(16_000))]);
    let victim = Victim::answering();
    let (_, end) = victim.under(|inbound| flood(inbound, &endless_head(&large, 1000)));
    assert_ne!(end, End::Open, "it is not cut off");
}

#[test]
fn se_5_settings_flood() {
    let settings = Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    is_cut_off(&settings.octets().repeat(MANY), "http2-control-frames");
}

#[test]
fn se_5_ping_flood() {
    is_cut_off(&Frame::ping().octets().repeat(MANY), "http2-control-frames");
}

/// Nobody reads the answers, so that they pile up where they are made (CVE-2019-9512).
#[test]
fn se_5_ping_flood_of_one_who_does_not_read() {
    let pings = Frame::ping().octets().repeat(MANY * 10);
    let victim = Victim::answering();
    victim.under(|inbound| {
        let mut link = Link::connect(inbound);
        link.peer.stream.set_write_timeout(Some(Duration::from_secs(1))).expect("it is open");
        link.peer.send(&pings);
    });
}

#[test]
fn se_5_priority_flood() {
    is_cut_off(&Frame::priority(1).octets().repeat(MANY), "http2-priority");
}

#[test]
fn se_5_window_update_flood() {
    is_cut_off(&Frame::window(0, 1).octets().repeat(MANY), "http2-window-updates");
}

#[test]
fn se_5_window_update_flood_of_a_stream() {
    let open = Frame::headers(1, &POST, false).octets();
    is_cut_off(&[open, Frame::window(1, 1).octets().repeat(MANY)].concat(), "http2-window-updates");
}

#[test]
fn se_5_empty_data_flood() {
    let open = Frame::headers(1, &POST, false).octets();
    is_cut_off(&[open, Frame::data(1, *b"", false).octets().repeat(MANY)].concat(), "http2-empty-data");
}

/// Content that is all padding: nothing comes, but windows are spent and given back.
#[test]
fn se_5_padding_flood() {
    let open = Frame::headers(1, &POST, false).octets();
    let padding = Frame::new(kind::DATA, flag::PADDED, 1, [vec![0], vec![]].concat());
    is_cut_off(&[open, padding.octets().repeat(MANY)].concat(), "http2-empty-data");
}

/// Sixteen thousand octets that stand for 64 MB: a field of 4,000 octets, remembered once and referred to again and
/// again (CVE-2016-6581).
#[test]
fn se_5_hpack_bomb() {
    let bomb = [block(&GET), remember("x", &"y".repeat(4000)), vec![REMEMBERED; 12_000]].concat();
    let again = [block(&GET), vec![REMEMBERED; 16_000]].concat();
    let victim = Victim::answering();
    victim.under(|inbound| {
        let head = |stream, block: &Vec<u8>| {
            Frame::new(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, block.clone())
        };
        let frames = (1..100).map(|nth| head(nth * 2 + 1, &again));
        flood(inbound, &octets([head(1, &bomb)].into_iter().chain(frames)))
    });
    victim.counted("http2-header-list");
}
