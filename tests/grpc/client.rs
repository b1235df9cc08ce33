//! How does a gRPC client call? Over one HTTP/2 connection, with a tonic that keeps no clock of its own: what expires,
//! expires on the way.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::{CancellationHandle, Request, Response, Status, Streaming};

use super::octets::Octets;
use crate::support::PATIENCE;

/// A client with one connection. Its clones share it; it ends with the last of them and of their calls.
#[derive(Clone)]
pub struct Client(Grpc<Connection>);

/// A connection, as tonic wants it.
#[derive(Clone)]
struct Connection(SendRequest<Body>);

impl GrpcService<Body> for Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A call that goes on in both directions.
pub struct Chat {
    say: Option<mpsc::UnboundedSender<Bytes>>,
    hear: Streaming<Bytes>,
    cancel: CancellationHandle,
}

/// A call that is under way.
pub struct Pending(JoinHandle<Result<Bytes, Status>>);

/// A request with this message and metadata.
pub fn ask(message: impl Into<Bytes>, metadata: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::new(message.into());
    for (name, value) in metadata {
        let name: AsciiMetadataKey = name.parse().unwrap();
        request.metadata_mut().append(name, value.parse().unwrap());
    }
    request
}

impl Client {
    /// Connects there, to call this authority.
    pub fn connect(to: SocketAddr, authority: &str) -> Self {
        let origin = format!("http://{authority}").parse().unwrap();
        let connection = wait(async {
            let stream = TcpStream::connect(to).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (send, connection) =
                Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Connection(send)
        });
        Self(Grpc::with_origin(connection, origin).max_decoding_message_size(usize::MAX))
    }

    /// One message there, one back.
    pub fn unary(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let mut grpc = self.0.clone();
        wait(async {
            ready(&mut grpc).await?;
            grpc.unary(request, path("Unary"), Octets).await
        })
    }

    /// The same, not waited for.
    pub fn begin(&self, request: Request<Bytes>) -> Pending {
        let mut grpc = self.0.clone();
        Pending(RUNTIME.spawn(async move {
            ready(&mut grpc).await?;
            grpc.unary(request, path("Unary"), Octets).await.map(Response::into_inner)
        }))
    }

    /// Several messages there, one back.
    pub fn collect(&self, request: Request<Vec<&'static str>>) -> Result<Response<Bytes>, Status> {
        let mut grpc = self.0.clone();
        let messages = |all: Vec<&'static str>| tokio_stream::iter(all.into_iter().map(Bytes::from));
        wait(async {
            ready(&mut grpc).await?;
            grpc.client_streaming(request.map(messages), path("Collect"), Octets).await
        })
    }

    /// One message there, several back.
    pub fn split(&self, mut request: Request<Bytes>) -> Result<(MetadataMap, Chat), Status> {
        let mut grpc = self.0.clone();
        let cancel = request.cancellation_handle();
        let answer = wait(async {
            ready(&mut grpc).await?;
            grpc.server_streaming(request, path("Split"), Octets).await
        });
        let (metadata, hear, _) = answer?.into_parts();
        Ok((metadata, Chat { say: None, hear, cancel }))
    }

    /// Several messages there, several back.
    pub fn chat(&self, metadata: &[(&str, &str)]) -> Result<Chat, Status> {
        let mut grpc = self.0.clone();
        let (say, said) = mpsc::unbounded_channel();
        let mut request = ask("", metadata).map(|_| UnboundedReceiverStream::new(said));
        let cancel = request.cancellation_handle();
        let answer = wait(async {
            ready(&mut grpc).await?;
            grpc.streaming(request, path("Chat"), Octets).await
        });
        Ok(Chat { say: Some(say), hear: answer?.into_inner(), cancel })
    }
}

impl Chat {
    /// Sends a message; that nobody listens any more shows in what comes back.
    pub fn say(&self, message: impl Into<Bytes>) {
        let _ = self.say.as_ref().expect("the client has not finished").send(message.into());
    }

    /// The next message; `None`: the end, and all is well.
    pub fn hear(&mut self) -> Result<Option<Bytes>, Status> {
        wait(self.hear.message())
    }

    /// Sends a message and hears one.
    pub fn exchange(&mut self, message: &'static str) -> Result<Option<Bytes>, Status> {
        self.say(message);
        self.hear()
    }

    /// Says no more; what is still to be heard.
    pub fn finish(&mut self) -> Result<Vec<Bytes>, Status> {
        self.say = None;
        let mut heard = Vec::new();
        while let Some(message) = self.hear()? {
            heard.push(message);
        }
        Ok(heard)
    }

    /// The status that ends it, whatever is heard before.
    pub fn end(&mut self) -> Status {
        loop {
            match self.hear() {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }

    /// Leaves in the middle.
    pub fn cancel(self) {
        self.cancel.cancel();
    }

    /// What came after the last message.
    pub fn trailers(&mut self) -> MetadataMap {
        wait(self.hear.trailers()).unwrap().unwrap_or_default()
    }
}

impl Pending {
    /// Its end.
    pub fn finish(self) -> Result<Bytes, Status> {
        wait(self.0).unwrap()
    }

    /// Nobody waits for it any longer.
    pub fn cancel(self) {
        self.0.abort();
    }
}

/// Drives all clients. Their connections live on while a test waits for something else.
static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(pending::<()>()));
    handle
});

/// What comes of it, in time.
#[track_caller]
fn wait<T>(act: impl Future<Output = T>) -> T {
    let act = async { tokio::time::timeout(PATIENCE, act).await };
    RUNTIME.block_on(act).expect("an end within patience")
}

async fn ready(grpc: &mut Grpc<Connection>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}
