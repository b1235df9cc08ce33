//! What does the sidecar beside us say? One question, one answer: what hooks and probes ask needs no shell and no other program.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use outrigger_config::model::{Admin, AdminAddress};

use super::Failure;
use super::policy::Policy;

/// What an answer may take; the sidecar gives it from a thread that does nothing else.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What an answer may be.
const ANSWER: u64 = 64 << 10;

/// Where it is: what is said, else what the policy says, else the default.
pub(super) fn find(
    said: Option<&AdminAddress>,
    policy: Option<&Path>,
    which: impl FnOnce(Admin) -> AdminAddress,
    default: SocketAddr,
) -> Result<AdminAddress, Failure> {
    match (said, policy) {
        (Some(said), _) => Ok(said.clone()),
        (None, Some(path)) => {
            let policy = Policy::load(path).map_err(|error| Failure::Because(error.to_string()))?;
            Ok(which(policy.config.sidecar.admin))
        }
        (None, None) => Ok(AdminAddress::Port(default)),
    }
}

/// The status and the content of its answer.
pub(super) fn ask(
    at: &AdminAddress,
    method: &str,
    path: &str,
    patience: Duration,
) -> io::Result<(u16, String)> {
    let answer = match at {
        AdminAddress::Port(addr) => {
            let stream = TcpStream::connect_timeout(addr, patience)?;
            stream.set_read_timeout(Some(patience))?;
            exchange(stream, method, path)
        }
        AdminAddress::File(file) => {
            let stream = UnixStream::connect(file)?;
            stream.set_read_timeout(Some(patience))?;
            exchange(stream, method, path)
        }
    }?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no sidecar that answers"))
}

/// The connection ends with the answer (RFC 9112 §9.6).
fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> io::Result<String> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: outrigger\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_words() {
        let said = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n";
        assert_eq!(parse(said), Some((503, "draining".to_owned())));
        for nonsense in ["", "\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }
}
