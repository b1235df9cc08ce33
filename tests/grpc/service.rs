//! What do the methods do? `Unary` echoes, `Collect` joins, `Split` takes apart, `Chat` echoes each message as it comes.

use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Incoming;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status, Streaming};
use tower_service::Service;

use super::octets::Octets;
use super::server::{Act, Ledger};

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Answers a call as the script says.
pub async fn answer(request: http::Request<Incoming>, act: Act, ledger: Arc<Ledger>) -> http::Response<Body> {
    let mut grpc = Grpc::new(Octets).max_decoding_message_size(usize::MAX);
    let mut stay = Stay { ledger, over: false };
    let act = match begin(act).await {
        Ok(act) => act,
        Err(status) => {
            stay.over = true;
            return status.into_http();
        }
    };
    match request.uri().path().rsplit('/').next() {
        Some("Unary") => grpc.unary(By::new(|request| ready(Ok(unary(request, stay)))), request).await,
        Some("Collect") => grpc.client_streaming(By::new(|request| collect(request, stay)), request).await,
        Some("Split") => {
            grpc.server_streaming(By::new(|request| ready(Ok(split(request, act, stay)))), request).await
        }
        Some("Chat") => grpc.streaming(By::new(|request| ready(Ok(chat(request, act, stay)))), request).await,
        _ => Status::unimplemented("no such method").into_http(),
    }
}

/// What is left to do when the waiting is over.
async fn begin(mut act: Act) -> Result<Act, Status> {
    loop {
        act = match act {
            Act::After(time, act) => {
                tokio::time::sleep(time).await;
                *act
            }
            Act::Fail(status) => return Err(status),
            Act::Hang => pending().await,
            act => return Ok(act),
        }
    }
}

fn unary(request: Request<Bytes>, mut stay: Stay) -> Response<Bytes> {
    stay.over = true;
    let head = echoed(request.metadata());
    Response::from_parts(head, request.into_inner(), http::Extensions::new())
}

async fn collect(request: Request<Streaming<Bytes>>, mut stay: Stay) -> Result<Response<Bytes>, Status> {
    let mut messages = request.into_inner();
    let mut all = Vec::new();
    while let Some(message) = messages.message().await? {
        all.extend_from_slice(&message);
    }
    stay.over = true;
    Ok(Response::new(all.into()))
}

fn split(request: Request<Bytes>, act: Act, stay: Stay) -> Response<Answers> {
    let echo = echoed(request.metadata());
    let message = request.into_inner();
    let words: Vec<_> = message.split(u8::is_ascii_whitespace).map(|word| message.slice_ref(word)).collect();
    respond(Box::pin(tokio_stream::iter(words.into_iter().map(Ok))), echo, act, stay)
}

fn chat(request: Request<Streaming<Bytes>>, act: Act, stay: Stay) -> Response<Answers> {
    let echo = echoed(request.metadata());
    respond(Box::pin(request.into_inner()), echo, act, stay)
}

/// A head with `echo`, the messages, and trailers with `echo`.
fn respond(messages: Messages, echo: MetadataMap, act: Act, stay: Stay) -> Response<Answers> {
    let end = |status| tokio_stream::once(Err(status));
    let messages: Messages = match act {
        Act::FailLate(status) => Box::pin(end(status)),
        Act::Break(status) => Box::pin(messages.take(1).chain(end(status))),
        _ => Box::pin(messages.chain(end(Status::with_metadata(Code::Ok, "", echo.clone())))),
    };
    Response::from_parts(echo, Answers { messages, stay }, http::Extensions::new())
}

/// What a caller wants back.
fn echoed(metadata: &MetadataMap) -> MetadataMap {
    let mut echo = MetadataMap::new();
    for pair in metadata.iter() {
        match pair {
            KeyAndValueRef::Ascii(key, value) if key.as_str().starts_with("x-echo") => {
                echo.append(key, value.clone());
            }
            KeyAndValueRef::Binary(key, value) if key.as_str().starts_with("x-echo") => {
                echo.append_bin(key, value.clone());
            }
            _ => {}
        }
    }
    echo
}

/// A call while it is answered; the ledger learns if it is dropped before its end.
struct Stay {
    ledger: Arc<Ledger>,
    over: bool,
}

impl Drop for Stay {
    fn drop(&mut self) {
        if !self.over {
            self.ledger.leave();
        }
    }
}

/// The messages of an answer.
struct Answers {
    messages: Messages,
    stay: Stay,
}

impl Stream for Answers {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.messages.as_mut().poll_next(cx);
        self.stay.over |= matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}

/// A method by its function, called once.
struct By<F>(Option<F>);

impl<F> By<F> {
    fn new<M, O>(method: F) -> Self
    where
        F: FnOnce(Request<M>) -> O,
    {
        Self(Some(method))
    }
}

impl<F, M, A, O> Service<Request<M>> for By<F>
where
    F: FnOnce(Request<M>) -> O,
    O: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = O;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<M>) -> O {
        self.0.take().expect("a call is one call")(request)
    }
}
