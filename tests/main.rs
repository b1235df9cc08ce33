//! Does the whole thing hold what it promises? The real binary between scripted peers, one file a topic.

mod layers;
mod support;
mod wire;
