//! Which signals does the process heed? Those that end it, those that are its application's, and the word of a child's end.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// They end the process.
const ENDINGS: [Signal; 2] = [Signal::TERM, Signal::INT];
/// They mean nothing to a sidecar, so an application that is started by one gets them as they come.
const PASSED_ON: [Signal; 4] = [Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];

/// Whatever is heeded, but SIGHUP: who follows the files hears that ([`Changes`](crate::reload::watch::Changes)).
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// From now on; before anything else is begun, since process 1 gets no signal that it does not heed.
    pub(super) fn new(has_application: bool) -> io::Result<Self> {
        let passed_on = PASSED_ON.iter().filter(|_| has_application);
        let heeded = ENDINGS.iter().chain([&Signal::CHILD]).chain(passed_on);
        heeded
            .map(|&number| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        let came = |(number, stream): &mut (Signal, unix::Signal)| {
            stream.poll_recv(cx).is_ready().then_some(*number)
        };
        self.0.iter_mut().find_map(came).map_or(Poll::Pending, Poll::Ready)
    }
}

/// It ends the process.
pub(super) fn ends(signal: Signal) -> bool {
    ENDINGS.contains(&signal)
}

/// Of a process that a signal has ended, as a shell tells it.
pub(super) fn code(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

/// For the log.
pub(super) fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::TERM => "SIGTERM",
        Signal::INT => "SIGINT",
        _ => "another signal",
    }
}
