//! Which frame is one too many? What a peer has sent, against what it may send.

use std::time::{Duration, Instant};

use outrigger_config::model::Http2Limits;

use super::scan::{Frame, Kind};
use crate::clock::now;

/// Over which resets, window updates and frames without effect are counted.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Frames of a kind that are allowed in a [`WINDOW`] whatever else passes.
const FREE: u32 = 1000;
/// Beside those, per request: some clients send a few before each.
const PER_REQUEST: u32 = 4;
/// Beside those, one window update for as many octets of content: less is not worth a frame.
const OCTETS_PER_UPDATE: u32 = 256;
/// Or so many for each frame of content, however small: for its stream and for the connection. They cost us no more than
/// the frame did.
const PER_FRAME: u64 = 2;
/// What a long quiet time can save up for later.
const MOST: u32 = 1_000_000;
/// CONTINUATION frames that a head may be split into.
const MAX_CONTINUATIONS: u32 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Counts what happens in a span of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    count: u32,
    since: Option<Instant>,
}

impl Meter {
    /// One more; is it too many? Asks for the time only when it could be.
    pub fn is_over(&mut self, limit: u32, per: Duration) -> bool {
        self.count = self.count.saturating_add(1);
        let since = *self.since.get_or_insert_with(now);
        if self.count <= limit {
            return false;
        }
        let now = now();
        if now.saturating_duration_since(since) < per {
            return true;
        }
        *self = Self { count: 1, since: Some(now) };
        false
    }
}

/// What has come so far.
#[derive(Debug, Default)]
pub struct Tally {
    control: Meter,
    updates: Meter,
    idle: Meter,
    empty: u32,
    continuations: u32,
    in_head: bool,
    /// The last frame of which the head has come was DATA: how long that may take is the stream's to say.
    in_data: bool,
    /// DATA frames that have gone out since PING and SETTINGS were counted anew.
    sent: u32,
    /// What allows frames beyond [`FREE`], since the respective count began.
    credit: Credit,
}

#[derive(Debug, Default, Clone, Copy)]
struct Credit {
    requests: u32,
    updates: u64,
}

impl Tally {
    /// The limit that a frame passes.
    pub fn on_read(&mut self, frame: &Frame, limits: &Http2Limits) -> Option<&'static str> {
        self.in_data = frame.kind == Kind::Data;
        match frame.kind {
            Kind::Data if frame.length == 0 && frame.flags & END_STREAM == 0 => {
                self.empty += 1;
                (self.empty > limits.empty_data).then_some("http2-empty-data")
            }
            Kind::Data => {
                self.empty = 0;
                None
            }
            Kind::Headers => {
                self.credit.requests = self.credit.requests.saturating_add(1);
                self.in_head = frame.flags & END_HEADERS == 0;
                (self.empty, self.continuations) = (0, 0);
                None
            }
            Kind::Continuation => {
                self.continuations += 1;
                self.in_head = frame.flags & END_HEADERS == 0;
                (self.continuations > MAX_CONTINUATIONS).then_some("http2-continuation")
            }
            Kind::Settings | Kind::Ping if frame.is_ack() => None,
            Kind::Settings | Kind::Ping => self.is_over_control(limits).then_some("http2-control-frames"),
            Kind::WindowUpdate => self.is_over_updates().then_some("http2-window-updates"),
            Kind::Priority | Kind::Other => {
                self.idle.is_over(self.allowance(), WINDOW).then_some("http2-priority")
            }
            Kind::GoAway | Kind::Reset => None,
        }
    }

    fn is_over_control(&mut self, limits: &Http2Limits) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and bounded"
        )]
        let limit = limits.control_frames.ceil() as u32;
        // Some clients measure the path by a PING for what they were just sent.
        let over = self.control.is_over(limit.saturating_add(self.sent), Duration::from_secs(1));
        if self.control.count == 1 {
            self.sent = 0;
        }
        over
    }

    fn is_over_updates(&mut self) -> bool {
        let due = u32::try_from(self.credit.updates).unwrap_or(MOST);
        let limit = self.allowance().saturating_add(due).min(MOST);
        let over = self.updates.is_over(limit, WINDOW);
        // A count that begins anew needs no credit of the past.
        if self.updates.count == 1 {
            self.credit = Credit::default();
        }
        over
    }

    /// Content has gone out, which makes some frames due.
    pub fn on_sent(&mut self, octets: u32) {
        self.credit.updates += PER_FRAME.max(u64::from(octets / OCTETS_PER_UPDATE));
        self.sent = self.sent.saturating_add(1).min(FREE);
    }

    /// A head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        self.in_head
    }

    /// The last frame that has begun is DATA.
    pub fn is_in_data(&self) -> bool {
        self.in_data
    }

    fn allowance(&self) -> u32 {
        FREE.saturating_add(self.credit.requests.saturating_mul(PER_REQUEST))
    }
}
