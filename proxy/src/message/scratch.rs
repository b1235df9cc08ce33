//! Whose memory does a request use? The worker's, lent in turn.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

/// The most that one read takes, and so the most that one direction of a connection buffers.
pub const READ_SIZE: usize = 32 * 1024;
/// Octets of the chunks in which heads are held: a long exchange keeps no more than one alive.
const HEADS: usize = 16 * 1024;
/// Maps and buffers that are kept for the next connections, and the room that one may have.
const SPARE: usize = 64;
const SPARE_FIELDS: usize = 64;
const SPARE_BYTES: usize = 2 * 1024;

/// Memory of the worker that connections use in turn, so that an idle one holds none and a busy one allocates none.
#[derive(Debug, Default)]
pub struct Scratch {
    read: RefCell<Box<[u8]>>,
    heads: RefCell<Heads>,
    maps: RefCell<Vec<HeaderMap>>,
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl Scratch {
    /// Lends the read buffer, within one poll, never across a wait.
    pub fn lend<R>(&self, to: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut read = self.read.borrow_mut();
        if read.is_empty() {
            *read = vec![0; READ_SIZE].into_boxed_slice();
        }
        to(&mut read)
    }

    /// A copy of a head for its fields to share.
    pub fn hold(&self, head: &[u8]) -> Bytes {
        self.heads.borrow_mut().hold(head)
    }

    /// An empty map with room in it.
    pub fn map(&self) -> HeaderMap {
        self.maps.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a map back that is needed no more.
    pub fn recycle(&self, mut map: HeaderMap) {
        let mut spare = self.maps.borrow_mut();
        if spare.len() < SPARE && map.capacity() <= SPARE_FIELDS {
            map.clear();
            spare.push(map);
        }
    }

    /// An empty buffer with room in it.
    pub fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES))
    }

    /// Takes a buffer back that is needed no more.
    pub fn recycle_buffer(&self, buffer: Vec<u8>) {
        let mut spare = self.buffers.borrow_mut();
        if spare.len() < SPARE && (1..=SPARE_BYTES * 8).contains(&buffer.capacity()) {
            spare.push(buffer);
        }
    }
}

/// Heads lie one behind the other in a chunk, and chunks are used in turn, so that their memory stays warm. One that is
/// still needed when its turn comes is left to those who need it.
#[derive(Debug, Default)]
struct Heads {
    chunks: [BytesMut; 4],
    turn: usize,
}

impl Heads {
    fn hold(&mut self, head: &[u8]) -> Bytes {
        if self.chunks[self.turn].capacity() < head.len() {
            self.turn = (self.turn + 1) % self.chunks.len();
            let chunk = &mut self.chunks[self.turn];
            if !chunk.try_reclaim(HEADS.max(head.len())) {
                *chunk = BytesMut::with_capacity(HEADS.max(head.len()));
            }
        }
        let chunk = &mut self.chunks[self.turn];
        chunk.extend_from_slice(head);
        chunk.split().freeze()
    }
}
