//! Is it alive, is it ready, what did it count? For orchestrators and Prometheus.

use http::StatusCode;

use super::server::{Page, Wish};
use crate::worker::Shared;

const INDEX: &str = "\
/metrics  counters for Prometheus
/livez    200 while the process lives
/readyz   200 while it wants traffic, 503 with the reason while it drains";

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
        "/readyz" => Some(Page::text(StatusCode::OK, "ready")),
        _ => None,
    }
}
