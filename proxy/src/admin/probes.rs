//! Is it alive, is it ready, what did it count? For orchestrators and Prometheus.

use std::time::SystemTime;

use http::StatusCode;

use super::server::{Page, Wish};
use crate::worker::{Phase, Shared};

const INDEX: &str = "\
/metrics   counters for Prometheus
/livez     200 while the process lives
/startupz  200 once the application may call out through it
/readyz    200 while it wants traffic, 503 with the reason before and while it drains, while its application is not ready
           or its certificate is about to expire";

/// The page at a path.
pub(super) fn page(shared: &Shared, wish: Wish, path: &str) -> Option<Page> {
    let phase = shared.life.phase();
    match path {
        _ if wish == Wish::Act => None,
        "/" => Some(Page::text(StatusCode::OK, INDEX)),
        "/metrics" => {
            let (content_type, body) = shared.metrics.render();
            Some(Page { status: StatusCode::OK, content_type, body })
        }
        "/livez" => Some(Page::text(StatusCode::OK, "live")),
        // These pages are served only after the workers listen and a policy is loaded.
        "/startupz" if phase == Phase::Starting => Some(unavailable(phase.label())),
        "/startupz" => Some(Page::text(StatusCode::OK, "started")),
        "/readyz" if phase != Phase::Serving => Some(unavailable(phase.label())),
        "/readyz" => Some(unready(shared).map_or_else(|| Page::text(StatusCode::OK, "ready"), unavailable)),
        _ => None,
    }
}

fn unavailable(reason: impl Into<String>) -> Page {
    Page::text(StatusCode::SERVICE_UNAVAILABLE, reason)
}

/// Why nobody should call us: the application behind an inbound port fails its checks or wants no work (LB-12), or who
/// calls next would not believe us (SE-3).
fn unready(shared: &Shared) -> Option<String> {
    let snapshot = shared.snapshot.load();
    if snapshot.tls.as_ref().is_some_and(|tls| tls.credentials().identity().leaf.is_ending(SystemTime::now()))
    {
        return Some("the certificate is about to expire".to_owned());
    }
    let mut applications = snapshot.applications().filter(|found| found.config.health_check.is_some());
    let unready = applications.find(|found| found.wants_no_work())?;
    Some(format!("the application behind {} is not ready", unready.config.name))
}
