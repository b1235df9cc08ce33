//! Is it alive, is it ready, what did it count? For orchestrators and Prometheus.

use http::StatusCode;

use super::server::{Page, Wish};
use crate::worker::Shared;

const INDEX: &str = "\
/metrics  counters for Prometheus
/livez    200 while the process lives
/readyz   200 while it wants traffic, 503 with the reason while it drains or its application is not ready";

/// The page at a path.
pub(super) fn page(shared: &Shared, wish: Wish, path: &str) -> Option<Page> {
    match path {
        _ if wish == Wish::Act => None,
        "/" => Some(Page::text(StatusCode::OK, INDEX)),
        "/metrics" => {
            let (content_type, body) = shared.metrics.render();
            Some(Page { status: StatusCode::OK, content_type, body })
        }
        "/livez" => Some(Page::text(StatusCode::OK, "live")),
        // These pages are served only after the workers listen and a policy is loaded.
        "/readyz" if shared.is_draining() => Some(Page::text(StatusCode::SERVICE_UNAVAILABLE, "draining")),
        "/readyz" => Some(match unready(shared) {
            Some(port) => Page::text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the application behind {port} is not ready"),
            ),
            None => Page::text(StatusCode::OK, "ready"),
        }),
        _ => None,
    }
}

/// The first inbound port whose application fails its checks or wants no work: then nobody should call us (LB-12).
fn unready(shared: &Shared) -> Option<String> {
    let snapshot = shared.snapshot.load();
    let mut applications = snapshot.applications().filter(|found| found.config.health_check.is_some());
    let unready = applications.find(|found| found.wants_no_work())?;
    Some(unready.config.name.to_string())
}
