//! Does the whole thing hold what it promises? The real binary between scripted peers, one file a topic.

mod balancing;
mod chain;
mod classification;
mod commands;
mod deadlines;
mod drain;
mod ids;
mod keep_alive;
mod layers;
mod reload;
mod retries;
mod support;
mod telemetry;
mod timeouts;
mod wire;
