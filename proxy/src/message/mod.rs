//! What is a message, whichever version of HTTP carries it? Heads, content and its end; how content gets from one
//! connection to another.

pub mod ends;
pub mod framing;
pub mod head;
pub mod known;
pub mod scratch;
pub mod transfer;

pub use ends::Ends;
pub use framing::{Framing, Malformation, TrailerLimits};
pub use head::{HeadError, HeadLimits, ReceiveError, RequestHead, ResponseHead, Version};
pub use known::Known;
pub use scratch::Scratch;
pub use transfer::{Passing, Piece, Sink, Source, TransferError, poll_transfer};
