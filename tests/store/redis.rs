//! Where does a test get a Redis? A process of the real server, gone with the value; none where it is not installed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{eventually, free_addr};

/// A running server without memory.
pub struct Redis {
    /// Where it listens, before and after it is revived.
    pub addr: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Redis {
    /// `None`, said aloud: the machine has no `redis-server`.
    pub fn start() -> Option<Self> {
        let (addr, dir) = (free_addr(), TempDir::new().unwrap());
        let child = spawn(addr, &dir);
        if child.is_none() {
            let line = "\nSKIPPED: a test of shared limits, since there is no `redis-server`; install it\n";
            // Not by `eprint!`, which the test harness keeps to itself.
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        Some(Self { addr, child: child?, dir })
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A new one in its place, which knows nothing.
    pub fn revive(&mut self) {
        self.child = spawn(self.addr, &self.dir).unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(addr: SocketAddr, dir: &TempDir) -> Option<Child> {
    let spawned = Command::new("redis-server")
        .args(["--port", &addr.port().to_string(), "--bind", &addr.ip().to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    eventually("a Redis that answers", || {
        let Ok(mut stream) = TcpStream::connect(addr) else { return false };
        let mut answer = [0; 7];
        stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer)).is_ok()
            && answer == *b"+PONG\r\n"
    });
    Some(child)
}
