//! How full is a limit? The limit itself counts here, so that a scrape reads the very numbers that decide.

use std::sync::atomic::AtomicU32;

/// One limit: who is inside, who waits, and how many may be inside now.
#[derive(Debug, Default)]
pub struct Fill {
    /// In flight, or open.
    pub inside: AtomicU32,
    /// In the queue before it.
    pub waiting: AtomicU32,
    /// The limit of the moment; 0: there is none.
    pub limit: AtomicU32,
}
