//! In which order does everything end? Callers first, then the application, its own calls last (REQUIREMENTS U2, D12).
//!
//! ```text
//! SIGTERM ─→ callers leave ─────────→ the application is told ─→ it exits ─→ what is under way is finished
//!            no later than half of      is killed when all but
//!            the grace                  a tenth of it is over; who cannot
//!                                       be is left behind at its end
//! ```
//!
//! Without an application of ours, the end of the last outbound connection stands for its exit. `outrigger drain` begins the
//! first step ahead of the signal and goes no further.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::{sleep_until, timeout_at};

use super::application::{Application, reap};
use super::signals::{self, Signals, name};
use crate::app::{tenth, until};
use crate::clock::now;
use crate::worker::{Phase, Shared};

/// How long it takes at most, on a busy machine, until one that was killed is seen to have ended.
const DYING: Duration = Duration::from_secs(1);

/// What leads from the start to the end.
pub(super) struct Course<'a> {
    pub(super) signals: Signals,
    pub(super) application: Option<Application>,
    pub(super) shared: &'a Shared,
}

/// How it ended, with the exit code.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// There is time for the last exchanges.
    InOrder(u8),
    /// Somebody did not want to wait.
    AtOnce(u8),
}

/// What may happen at any time.
enum Event {
    /// The process is to end.
    Told(Signal),
    /// The application has ended.
    Exited(u8),
}

impl Course<'_> {
    /// Until `ready`, or until the process is told to end before that: the signal.
    pub(super) async fn starts(&mut self, ready: impl Future<Output = ()>) -> Option<Signal> {
        match self.unless(ready).await {
            Some(Event::Told(signal)) => Some(signal),
            Some(Event::Exited(_)) | None => None,
        }
    }

    /// To the end. `calls_nobody`: the service has no outbound connection any more.
    pub(super) async fn run(mut self, calls_nobody: impl Fn() -> bool) -> End {
        let told = match self.next().await {
            Event::Told(signal) => signal,
            Event::Exited(code) => return exited(code),
        };
        let (began, grace) = (now(), self.shared.snapshot.load().config.sidecar.shutdown.drain);
        let last = began + grace.saturating_sub(tenth(grace));
        tracing::info!(signal = name(told), "draining");
        self.shared.life.advance(Phase::Draining);
        if self.application.is_some() {
            return self.end_with_application(told, [began + grace / 2, last, began + grace]).await;
        }
        let shared = self.shared;
        let over = async {
            shared.life.reaches(Phase::Drained).await;
            until(last, calls_nobody).await;
        };
        match self.unless(within(last, over)).await {
            Some(_) => {
                tracing::warn!("ending at once");
                End::AtOnce(0)
            }
            None => End::InOrder(0),
        }
    }

    async fn end_with_application(&mut self, told: Signal, [half, last, end]: [Instant; 3]) -> End {
        let callers_gone = self.shared.life.reaches(Phase::Drained);
        if let Some(Event::Exited(code)) = self.unless(within(half, callers_gone)).await {
            return exited(code);
        }
        tracing::info!(signal = name(told), "the application is told");
        self.tell(told);
        match self.unless(sleep_until(last.into())).await {
            Some(Event::Exited(code)) => return exited(code),
            Some(Event::Told(_)) => tracing::warn!("the application is killed at once"),
            None => tracing::warn!("the application is killed: its time is up"),
        }
        self.application.iter().for_each(Application::kill);
        let end = end.max(now() + DYING);
        match self.unless(sleep_until(end.into())).await {
            Some(Event::Exited(code)) => return exited(code),
            Some(Event::Told(_)) => tracing::warn!("ending at once"),
            None => tracing::error!("the application cannot be killed, and is left behind"),
        }
        End::AtOnce(signals::code(Signal::KILL))
    }

    /// Until `done`, or what happens before that.
    async fn unless(&mut self, done: impl Future<Output = ()>) -> Option<Event> {
        tokio::select! {
            event = self.next() => Some(event),
            () = done => None,
        }
    }

    /// What happens next. Whoever has ended is reaped, and what is the application's is passed on.
    async fn next(&mut self) -> Event {
        loop {
            match self.signals.next().await {
                signal if signals::ends(signal) => return Event::Told(signal),
                Signal::CHILD => {
                    if let Some(code) = reap(self.application.as_ref()) {
                        return Event::Exited(code);
                    }
                }
                signal => self.tell(signal),
            }
        }
    }

    fn tell(&self, signal: Signal) {
        self.application.iter().for_each(|application| application.tell(signal));
    }
}

/// Until `done` or then.
async fn within(end: Instant, done: impl Future<Output = ()>) {
    // Either is what was waited for.
    let _ = timeout_at(end.into(), done).await;
}

fn exited(code: u8) -> End {
    tracing::info!(code, "the application has exited");
    End::InOrder(code)
}

impl End {
    /// Of the process.
    pub(super) fn code(self) -> u8 {
        let (Self::InOrder(code) | Self::AtOnce(code)) = self;
        code
    }
}
