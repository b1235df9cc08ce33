//! Who talks in a scenario? Services that do as their script says, and callers that keep their connection.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::support::draft::Draft;
use crate::support::peer::Message;

/// A service that runs `script` for each connection; where it listens.
pub fn scripted<F>(script: impl Fn(TcpStream) -> F + 'static) -> SocketAddr
where
    F: Future + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a bound socket takes options");
    let listener = TcpListener::from_std(listener).expect("a scenario has a runtime");
    let addr = listener.local_addr().expect("a bound socket has an address");
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("an open socket takes options");
            let served = script(stream);
            spawn_local(async move { drop(served.await) });
        }
    });
    addr
}

/// A service that answers each request as `answer` does; where it listens.
pub fn answering<F>(answer: impl Fn(Message) -> F + 'static) -> SocketAddr
where
    F: Future<Output = Draft> + 'static,
{
    let answer = Rc::new(answer);
    scripted(move |stream| {
        let (answer, mut ahead, mut stream) = (Rc::clone(&answer), Vec::new(), stream);
        async move {
            while let Ok(request) = message(&mut stream, &mut ahead).await {
                let closes = request.closes();
                let said = answer(request).await;
                if stream.write_all(&said.octets()).await.is_err() || closes {
                    return;
                }
            }
        }
    })
}

/// A client with one keep-alive connection, made anew when it has ended.
pub struct Caller {
    to: SocketAddr,
    stream: Option<TcpStream>,
}

impl Caller {
    /// One that calls there.
    pub fn of(to: SocketAddr) -> Self {
        Self { to, stream: None }
    }

    /// Sends a request and reads its answer.
    pub async fn send(&mut self, request: &Draft) -> io::Result<Message> {
        let mut stream = match self.stream.take() {
            Some(kept) => kept,
            None => connect(self.to).await?,
        };
        stream.write_all(&request.octets()).await?;
        let answer = message(&mut stream, &mut Vec::new()).await?;
        self.stream = (!answer.closes()).then_some(stream);
        Ok(answer)
    }
}

/// A connection.
pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The next message, whose content has an announced length; what comes after it stays `ahead`.
pub async fn message(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> io::Result<Message> {
    let end = loop {
        if let Some(at) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, ahead).await?;
    };
    let head = String::from_utf8_lossy(&ahead[..end]).into_owned();
    let mut message = Message { head, ..Message::default() };
    let length = message.field("content-length").map_or(0, |length| length.parse().expect("a number"));
    while ahead.len() < end + length {
        more(stream, ahead).await?;
    }
    message.body = ahead.drain(..end + length).skip(end).collect();
    Ok(message)
}

async fn more(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(ahead).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::support::draft::{answer, get};
    use crate::support::inside::run;
    use crate::support::inside::sidecar::Sidecar;
    use crate::support::rig::upstream;

    /// Services call on through their own sidecars, and time passes for all of them alike.
    #[test]
    fn six_hops_and_a_reload_on_one_clock() {
        run(Duration::ZERO, async {
            let leaf = answering(|_| async {
                sleep(Duration::from_secs(2)).await;
                answer(200).with("x-leaf", "yes")
            });
            let mut hops = vec![Sidecar::beside(leaf, &[])];
            for _ in 1..6 {
                let next = upstream("next", &[hops.last().unwrap().inbound], "");
                hops.push(Sidecar::of_service(&[next], |outbound, _| async move {
                    let heard = Caller::of(outbound).send(&get("next")).await.unwrap();
                    answer(heard.status()).with("x-leaf", heard.field("x-leaf").unwrap_or("no"))
                }));
            }
            let (start, first) = (Instant::now(), hops.last().unwrap());
            let said = Caller::of(first.inbound).send(&get("us")).await.unwrap();
            assert_eq!((said.status(), said.field("x-leaf")), (200, Some("yes")));
            let took = start.elapsed();
            assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2010), "{took:?}");
            assert_eq!(first.metric("requests_total", &[("direction", "outbound"), ("code", "200")]), 1);
            assert_eq!(first.reload(&[]), 2);
            assert_eq!(Caller::of(first.outbound).send(&get("next")).await.unwrap().status(), 404);
        });
    }
}
