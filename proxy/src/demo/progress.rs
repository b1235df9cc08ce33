//! How is the demo going? What it says on standard error before, during and after.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::scalars::NonZeroDuration;
use tokio::time::{Instant, interval};

use super::load::Caller;
use super::report::{millis, percent};
use super::scenes::Scene;
use super::stage::Stage;

/// What is shown, and where to look meanwhile.
pub fn introduce(stage: &Stage, duration: Duration) {
    let duration = NonZeroDuration::format(duration);
    tell(&format!(
        "\
holdings calls market-data, which has three replicas: one healthy, one slow, one failing a third of its calls.
Two callers ask holdings 100 times a second for {duration}, one without sidecars, one with; after half of it things
get worse. Sidecars speak mutual TLS with each other. Look meanwhile:

{}
",
        where_to_look(stage)
    ));
}

/// Lines for a shell.
fn where_to_look(stage: &Stage) -> String {
    let (bare, guarded, prices) = (stage.bare, stage.places.inbound, stage.guarded[0]);
    let (admin, metrics) = (&stage.places.admin.listen, stage.places.admin.metrics);
    let looks = [
        (format!("curl -i http://{bare}/holdings"), "without sidecars; ask a few times"),
        (format!("curl -i http://{guarded}/holdings"), "with sidecars"),
        (format!("curl -i http://{prices}/prices/ACME"), "a sidecar of market-data: not in plaintext"),
        (format!("curl -s http://{metrics}/metrics | grep ^outrigger_retries"), "what its sidecar counts"),
        (format!("curl -s http://{admin}/upstreams"), "what it expects of each replica, in ms"),
        (
            format!("tail -f {}/holdings.log", stage.folder.display()),
            "its access log; policies are beside it",
        ),
    ];
    looks.map(|(command, what)| format!("  {command:<64} # {what}\n")).concat()
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

/// What gets worse now.
pub fn announce(scene: Scene) {
    let start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    tell(&format!("{start}Now {}.\n", scene.label()));
}

/// What is left.
pub fn conclude(folder: &Path) {
    let start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    tell(&format!(
        "{start}The sidecars have ended. Their access logs and policies: {}\n\n",
        folder.display()
    ));
}

/// Who closes standard error doesn't want to hear it.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
