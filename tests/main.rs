//! Does the whole thing hold what it promises? The real binary between scripted peers, one file a topic.

mod balancing;
mod classification;
mod deadlines;
mod layers;
mod retries;
mod support;
mod timeouts;
mod wire;
