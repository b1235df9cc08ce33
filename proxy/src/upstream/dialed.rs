//! Was it ourselves who called? What we open where rules redirect connections, marked for the rules and remembered for the
//! listener.
//!
//! The rules leave the sidecar's connections alone: outbound by its user, to the own application by the priority of the
//! socket. Where they don't, since the user is another one than they were made for, each connection would come back to the
//! listener and be opened anew, for ever. So the listener asks whether it is one of ours. The last of each local port is
//! remembered by a hash of both ends; whether it is still ours, and not the application's by chance of the same ends, is
//! then said by the kernel's list of sockets, which is too long to be read for each connection.

use std::fs;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::FixedState;
use rustix::io::Errno;
use rustix::process::geteuid;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

/// Connections that are remembered: one for each local port, modulo this.
const SLOTS: usize = 4096;

/// The priority of sockets to the own application. The greatest that needs no capability (socket(7)); the rules know it.
pub const TO_APPLICATION: u32 = 6;

/// What was opened in one direction.
#[derive(Debug)]
pub struct Dialed {
    priority: Option<u32>,
    lately: Box<[AtomicU64]>,
    told: AtomicBool,
}

impl Dialed {
    /// Nothing yet. Sockets get this `priority`.
    pub fn new(priority: Option<u32>) -> Self {
        Self {
            priority,
            lately: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            told: AtomicBool::new(false),
        }
    }

    /// Opens a connection.
    pub async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if let Some(priority) = self.priority {
            socket.set_priority(priority)?;
        }
        match socket.connect(&addr.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
            _ => {}
        }
        // Before it is established: then it may have come in already.
        if let Some(from) = socket.local_addr()?.as_socket() {
            self.remember(from, addr);
        }
        let stream = TcpStream::from_std(socket.into())?;
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    /// Whether the connection that came `from` there and was meant for `to` is one of those. Says so once.
    pub fn is_ours(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let known = self.slot(from).load(Ordering::Relaxed) == hash(from, to);
        let ours = known && may_be_ours(list(from), from, to);
        if ours && !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(%from, %to, "our own connections are redirected to us: the rules are for another user; see `outrigger intercept`");
        }
        ours
    }

    fn remember(&self, from: SocketAddr, to: SocketAddr) {
        self.slot(from).store(hash(from, to), Ordering::Relaxed);
    }

    fn slot(&self, from: SocketAddr) -> &AtomicU64 {
        &self.lately[usize::from(from.port()) % SLOTS]
    }
}

fn hash(from: SocketAddr, to: SocketAddr) -> u64 {
    FixedState::default().hash_one((from, to)) | 1
}

/// The kernel's sockets of this family (`proc_pid_net(5)`).
fn list(of: SocketAddr) -> io::Result<String> {
    let file = if of.is_ipv4() { "/proc/thread-self/net/tcp" } else { "/proc/thread-self/net/tcp6" };
    fs::read_to_string(file)
}

/// Whether one that is remembered is still ours. Where the list cannot be read it is: a connection that is refused by chance
/// is less than a loop.
fn may_be_ours(list: io::Result<String>, from: SocketAddr, to: SocketAddr) -> bool {
    list.map_or(true, |list| owner_in(&list, from, to) == Some(geteuid().as_raw()))
}

/// Whose socket has these ends.
fn owner_in(list: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let [from, to] = [from, to].map(as_listed);
    let columns = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let ends = columns.next() == Some(&from) && columns.next() == Some(&to);
        // After the ends: state, queues, timer, retransmissions.
        ends.then(|| columns.nth(4)?.parse().ok()).flatten()
    };
    list.lines().find_map(columns)
}

/// Words of the address as they lie in memory, and the port.
fn as_listed(addr: SocketAddr) -> String {
    let word = |octets: &[u8]| octets.try_into().map_or(0, u32::from_ne_bytes);
    let words = |octets: &[u8]| {
        octets.chunks_exact(4).fold(String::new(), |words, octets| words + &format!("{:08X}", word(octets)))
    };
    let ip = match addr.ip() {
        IpAddr::V4(ip) => words(&ip.octets()),
        IpAddr::V6(ip) => words(&ip.octets()),
    };
    format!("{ip}:{:04X}", addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cf_9_a_connection_of_ours_is_known_until_it_ends() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(here).await else { continue };
            let (dialed, to) = (Dialed::new(Some(TO_APPLICATION)), listener.local_addr().unwrap());
            let ours = dialed.connect(to).await.unwrap();
            let (_other, from) = listener.accept().await.unwrap();
            assert!(dialed.is_ours(from, to));
            assert!(!Dialed::new(None).is_ours(from, to), "another opened it");
            drop(ours);
            let stranger = SocketAddr::new(from.ip(), from.port().wrapping_add(1));
            assert!(!dialed.is_ours(stranger, to));
        }
    }

    #[tokio::test]
    async fn nobody_listens_is_what_connect_says() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Dialed::new(None).connect(free).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn cf_9_what_is_remembered_is_ours_where_the_kernel_s_list_cannot_be_read() {
        let [from, to] = ["127.0.0.1:40000", "10.1.0.7:80"].map(|addr| addr.parse().unwrap());
        assert!(may_be_ours(Err(io::ErrorKind::NotFound.into()), from, to), "no /proc");
        assert!(!may_be_ours(Ok(String::new()), from, to), "it has ended");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernel_s_list_is_read() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:9C40 0700010A:0050 01 00000000:00000000 00:00000000 00000000  2102        0 91 1\n";
        let [from, to] = ["127.0.0.1:40000", "10.1.0.7:80"].map(|addr| addr.parse().unwrap());
        assert_eq!(owner_in(list, from, to), Some(2102));
        assert_eq!(owner_in(list, to, from), None);
        assert_eq!(as_listed("[::1]:80".parse().unwrap()), "00000000000000000000000001000000:0050");
    }
}
