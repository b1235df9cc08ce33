//! How does a page reach its reader? One request a connection, a bound on all of it, the data path's own parser.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::http1::head::parse_request;
use crate::message::Scratch;
use crate::message::{HeadLimits, RequestHead};

/// Connections to one port at a time; both ports together stay within the descriptors that workers leave alone.
const CONNECTIONS: usize = 32;
/// From a connection's start to its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// From a connection's start to the end of its head: who asks, asks at once.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// What a request may be; a probe's is 200 octets.
const LIMITS: HeadLimits = HeadLimits { bytes: 8 << 10, fields: 64, target: 1 << 10 };
/// How long accepting rests when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Page {
    /// Plain text for a person.
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into() + "\n" }
    }

    /// A value for a machine, laid out so that a person can read it too.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: format!("{value:#}\n") }
    }
}

/// What is asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To see what is there (GET, HEAD).
    See,
    /// To do what it says (POST).
    Act,
}

/// A connection that is open.
struct Guest {
    task: AbortHandle,
    /// It is being answered; else we wait for it, before or after.
    served: Arc<AtomicBool>,
}

/// Serves `page` for the paths and wishes that it knows, until dropped. Nobody takes all places: where there is none left,
/// the oldest connection that is not being answered makes room, and `crowded` counts it.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    page: impl Fn(Wish, &str) -> Option<Page> + Send + Sync + 'static,
    crowded: impl Fn(),
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (page, mut guests) = (Arc::new(page), VecDeque::new());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(EXHAUSTED_PAUSE).await;
            continue;
        };
        guests.retain(|guest: &Guest| !guest.task.is_finished());
        if guests.len() >= CONNECTIONS {
            let waited_for = guests.iter().position(|guest| !guest.served.load(Ordering::Relaxed));
            if let Some(leaves) = guests.remove(waited_for.unwrap_or_default()) {
                leaves.task.abort();
            }
            crowded();
        }
        let served = Arc::new(AtomicBool::new(false));
        let (page, seen) = (Arc::clone(&page), Arc::clone(&served));
        let task = tokio::spawn(async move {
            // Nobody is told of a reader that went away or took too long: it knows.
            let _ = timeout(PATIENCE, exchange(stream, &*page, &seen)).await;
        });
        guests.push_back(Guest { task: task.abort_handle(), served });
    }
}

async fn exchange(
    mut stream: TcpStream,
    page: &(impl Fn(Wish, &str) -> Option<Page> + Sync),
    served: &AtomicBool,
) -> io::Result<()> {
    let Some(head) = timeout(HEAD_PATIENCE, read_head(&mut stream)).await?? else { return Ok(()) };
    served.store(true, Ordering::Relaxed);
    stream.write_all(&respond(head, page)).await?;
    stream.shutdown().await?;
    served.store(false, Ordering::Relaxed);
    // Closing with something unread would reset the connection, and the answer with it (RFC 9112 §9.6).
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// The request, or what is wrong with it; `None`: there was none.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Result<RequestHead, Page>>> {
    let mut received = Vec::new();
    let scratch = Scratch::default();
    loop {
        match parse_request(&received, &LIMITS, &scratch) {
            Ok(Some((head, _))) => return Ok(Some(Ok(head))),
            Ok(None) if stream.read_buf(&mut received).await? == 0 => return Ok(None),
            Ok(None) => {}
            Err(error) => return Ok(Some(Err(Page::text(error.status(), error.label())))),
        }
    }
}

fn respond(head: Result<RequestHead, Page>, page: &impl Fn(Wish, &str) -> Option<Page>) -> Vec<u8> {
    let (bodiless, page) = match head {
        Ok(head) if head.method == Method::GET || head.method == Method::HEAD => {
            let path = head.target.path();
            let page = page(Wish::See, path)
                .unwrap_or_else(|| Page::text(StatusCode::NOT_FOUND, "no such page; see /"));
            (head.method == Method::HEAD, page)
        }
        Ok(head) => {
            let done = (head.method == Method::POST).then(|| page(Wish::Act, head.target.path())).flatten();
            (false, done.unwrap_or_else(|| Page::text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only")))
        }
        Err(refusal) => (false, refusal),
    };
    let allow = if page.status == StatusCode::METHOD_NOT_ALLOWED { "allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n{allow}connection: close\r\n\r\n",
        page.status,
        page.content_type,
        page.body.len()
    );
    if !bodiless {
        response.push_str(&page.body);
    }
    response.into_bytes()
}
