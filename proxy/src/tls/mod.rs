//! Who are we, whom do we believe, and how is that proved? Everything that knows rustls.

mod session;
mod stream;

pub use session::Session;
pub use stream::{Stream, Tls};
