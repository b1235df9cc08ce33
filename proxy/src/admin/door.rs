//! Where do readers of pages come in? A port, or a socket file that its owner alone may open.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use outrigger_config::model::AdminAddress;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Bound, and not served yet.
#[derive(Debug)]
pub(super) enum Door {
    /// A port.
    Port(std::net::TcpListener),
    /// A socket file.
    File(std::os::unix::net::UnixListener, SocketFile),
}

/// A socket file; gone with the value, so that nobody knocks where nobody is.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Door {
    /// Binds it.
    pub(super) fn bind(wanted: &AdminAddress) -> io::Result<Self> {
        match wanted {
            AdminAddress::Port(addr) => std::net::TcpListener::bind(addr).map(Self::Port),
            AdminAddress::File(path) => Self::file(path),
        }
    }

    fn file(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile(path.to_owned());
        // Nobody can connect before it listens, so nobody comes in before the file is closed to others.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Ok(Self::File(socket.into(), file))
    }

    /// Where it is; says which port the kernel chose for port 0.
    pub(super) fn addr(&self) -> io::Result<AdminAddress> {
        match self {
            Self::Port(listener) => listener.local_addr().map(AdminAddress::Port),
            Self::File(_, SocketFile(path)) => Ok(AdminAddress::File(path.clone())),
        }
    }

    /// Opens it; call it on the runtime.
    pub(super) fn open(self) -> io::Result<OpenDoor> {
        Ok(match self {
            Self::Port(listener) => {
                listener.set_nonblocking(true)?;
                OpenDoor::Port(TcpListener::from_std(listener)?)
            }
            Self::File(listener, file) => {
                listener.set_nonblocking(true)?;
                OpenDoor::File(UnixListener::from_std(listener)?, file)
            }
        })
    }
}

/// What a process left that ended without notice.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there, and is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// A door that lets readers in.
pub(super) enum OpenDoor {
    Port(TcpListener),
    File(UnixListener, #[expect(dead_code, reason = "its end removes the file")] SocketFile),
}

/// A reader's connection.
pub(super) type Reader = Box<dyn Stream>;

/// What a page can be served over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl OpenDoor {
    /// The next reader.
    pub(super) async fn accept(&self) -> io::Result<Reader> {
        Ok(match self {
            Self::Port(listener) => Box::new(listener.accept().await?.0),
            Self::File(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}
