//! How is the demo going? What it says on standard error before, during and after.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::scalars::NonZeroDuration;
use tokio::time::{Instant, interval};

use super::load::Caller;
use super::report::{millis, percent};
use super::stage::Places;

/// What is shown, and where to look meanwhile.
pub fn introduce(places: &Places, duration: Duration) {
    let duration = NonZeroDuration::format(duration);
    tell(&format!(
        "\
holdings calls market-data, which has three replicas: one healthy, one slow, one failing a third of its calls.
Two callers ask holdings 100 times a second for {duration}, one without sidecars, one with. Look meanwhile:

{}
",
        where_to_look(places)
    ));
}

/// Lines for a shell.
fn where_to_look(places: &Places) -> String {
    let [bare, guarded] = places.holdings;
    let (admin, metrics) = (places.admin.listen, places.admin.metrics);
    let looks = [
        (format!("curl -i http://{bare}/holdings"), "without sidecars; ask a few times"),
        (format!("curl -i http://{guarded}/holdings"), "with sidecars"),
        (format!("curl -s http://{metrics}/metrics | grep retries"), "metrics of the sidecar of holdings"),
        (format!("curl -s http://{admin}/"), "its admin interface"),
        (
            format!("tail -f {}/holdings.log", places.folder.display()),
            "its access log; policies are beside it",
        ),
    ];
    looks.map(|(command, what)| format!("  {command:<56} # {what}\n")).concat()
}

/// A line that grows old in place on a terminal, or one every few seconds elsewhere. Never ends.
pub async fn show(callers: &[Arc<Caller>; 2]) {
    let terminal = io::stderr().is_terminal();
    let period = Duration::from_millis(if terminal { 500 } else { 5000 });
    let began = Instant::now();
    let mut ticks = interval(period);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let [without, with] = callers.each_ref().map(|caller| {
            let seen = caller.summary();
            format!("{} good, p99 {}", percent(seen.success_rate), millis(seen.p99_ms))
        });
        let (start, end) = if terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        let seconds = began.elapsed().as_secs();
        tell(&format!("{start}{seconds:>4} s   without: {without}   with: {with}{end}"));
    }
}

/// What is left.
pub fn conclude(places: &Places) {
    let start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    tell(&format!(
        "{start}All sidecars have ended. Access logs and policies: {}\n\n",
        places.folder.display()
    ));
}

/// Who closes standard error doesn't want to hear it.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
