//! Does the watch hold LB-11 against a name server that lies, fails and is silent?

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::*;

const PORT: u16 = 8000;
const LONG: Duration = Duration::from_hours(1);
const DEADLINE: Duration = Duration::from_secs(20);

/// Fast enough for a test to see several rounds, with the same proportions as in production.
const BOUNDS: Bounds = Bounds {
    min_ttl: Duration::from_millis(20),
    max_ttl: Duration::from_mins(5),
    first_retry: Duration::from_millis(10),
    max_retry: Duration::from_millis(50),
};

/// How the name server answers.
#[derive(Debug, Clone)]
enum Reply {
    Addresses(Vec<&'static str>, u32),
    /// To questions for IPv4; those for IPv6 are dropped.
    OnlyIpv4(&'static str),
    Code(ResponseCode),
    Silence,
}

/// A name server on loopback whose reply can be changed at any time.
struct NameServer {
    address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<Mutex<BTreeSet<RecordType>>>,
    tasks: JoinSet<()>,
}

impl NameServer {
    async fn start(reply: Reply) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let reply = Arc::new(Mutex::new(reply));
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(socket, Arc::clone(&reply), Arc::clone(&asked)));
        Self { address, reply, asked, tasks }
    }

    fn reply(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    fn watch(&self, stale_for: Duration) -> Watch {
        let resolver = Resolver::at(self.address).with_patience(Duration::from_millis(200));
        let schedule = Schedule::new(stale_for, BOUNDS, now());
        let (tx, updates) = unbounded_channel();
        let publish = move |update| {
            // The receiver is gone only when the test is over.
            let _ = tx.send(update);
        };
        let task = tokio::spawn(drive(schedule, resolver, "prices.test".into(), PORT, publish));
        Watch { updates, task }
    }
}

async fn serve(socket: UdpSocket, reply: Arc<Mutex<Reply>>, asked: Arc<Mutex<BTreeSet<RecordType>>>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        asked.lock().unwrap().insert(question.queries[0].query_type());
        let reply = reply.lock().unwrap().clone();
        if let Some(answer) = answer(&question, &reply) {
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    }
}

fn answer(question: &Message, reply: &Reply) -> Option<Message> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    let mut add = |ip: &str, ttl| {
        let data = RData::from(ip.parse::<IpAddr>().unwrap());
        if data.record_type() == query.query_type() {
            answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
        }
    };
    match reply {
        Reply::Silence => return None,
        Reply::OnlyIpv4(_) if query.query_type() == RecordType::AAAA => return None,
        Reply::OnlyIpv4(ip) => add(ip, 60),
        Reply::Addresses(addresses, ttl) => addresses.iter().for_each(|ip| add(ip, *ttl)),
        Reply::Code(code) => answer.metadata.response_code = *code,
    }
    answer.add_query(query);
    Some(answer)
}

struct Watch {
    updates: UnboundedReceiver<Update>,
    task: JoinHandle<()>,
}

impl Watch {
    async fn next(&mut self) -> Update {
        timeout(DEADLINE, self.updates.recv()).await.expect("no update").expect("a watch has no end")
    }

    /// The first update that is `wanted`; each before it must hold `meanwhile`.
    async fn until(
        &mut self,
        wanted: impl Fn(&Update) -> bool,
        meanwhile: impl Fn(&Update) -> bool,
    ) -> Update {
        loop {
            let update = self.next().await;
            if wanted(&update) {
                return update;
            }
            assert!(meanwhile(&update), "{update:?}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn endpoints(ips: &[&str]) -> Vec<SocketAddr> {
    ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), PORT)).collect()
}

#[tokio::test]
async fn u15_both_families_sorted_and_unique_with_their_ttl() {
    let server =
        NameServer::start(Reply::Addresses(vec!["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"], 60)).await;
    let update = server.watch(LONG).next().await;
    assert_eq!(update.endpoints, endpoints(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
    assert_eq!((update.ttl, update.is_stale(), update.error), (Duration::from_mins(1), false, None));
    assert!(update.answered_at.is_some());
    assert_eq!(*server.asked.lock().unwrap(), BTreeSet::from([RecordType::A, RecordType::AAAA]));
}

#[tokio::test]
async fn u15_silence_on_one_family_does_not_hide_the_other() {
    let server = NameServer::start(Reply::OnlyIpv4("10.0.0.1")).await;
    let update = server.watch(LONG).next().await;
    assert_eq!((update.endpoints, update.error), (endpoints(&["10.0.0.1"]), None));
}

#[tokio::test]
async fn lb_11_the_ttl_is_respected() {
    // One second is far above the lower bound here, so only the TTL can bring the second question this late.
    let server = NameServer::start(Reply::Addresses(vec!["10.0.0.1"], 1)).await;
    let mut watch = server.watch(LONG);
    let first = watch.next().await;
    server.reply(Reply::Addresses(vec!["10.0.0.2"], 1));
    let second = watch.next().await;
    assert_eq!(second.endpoints, endpoints(&["10.0.0.2"]), "removed addresses are gone at once");
    assert!(second.answered_at.unwrap() - first.answered_at.unwrap() >= first.ttl);
    assert_eq!(first.ttl, Duration::from_secs(1));
}

#[tokio::test]
async fn lb_11_failures_keep_the_last_good_set() {
    let good = || Reply::Addresses(vec!["10.0.0.1"], 0);
    let failures = [
        (Reply::Code(ResponseCode::NXDomain), "NXDOMAIN"),
        (Reply::Code(ResponseCode::ServFail), "Server Failure"),
        (Reply::Addresses(vec![], 0), "neither A nor AAAA"),
        (Reply::Silence, "in time"),
    ];
    let server = NameServer::start(good()).await;
    let mut watch = server.watch(LONG);
    let kept = |update: &Update| update.endpoints == endpoints(&["10.0.0.1"]);
    for (failure, reason) in failures {
        watch.until(|update| !update.is_stale(), kept).await;
        server.reply(failure);
        let told = |update: &Update| update.error.as_ref().is_some_and(|error| error.contains(reason));
        let update = watch.until(told, kept).await;
        assert!(kept(&update) && update.is_stale(), "{update:?}");
        server.reply(good());
    }
    watch.until(|update| update.error.is_none(), kept).await;
}

#[tokio::test]
async fn lb_11_empty_is_explicit_after_stale_for_and_an_answer_ends_it() {
    let server = NameServer::start(Reply::Addresses(vec!["10.0.0.1"], 0)).await;
    let mut watch = server.watch(Duration::from_millis(300));
    watch.next().await;
    server.reply(Reply::Code(ResponseCode::ServFail));
    let kept = |update: &Update| update.endpoints == endpoints(&["10.0.0.1"]);
    let empty = watch.until(|update| update.endpoints.is_empty(), kept).await;
    assert!(empty.is_stale() && empty.error.is_some() && empty.answered_at.is_some(), "{empty:?}");
    server.reply(Reply::Addresses(vec!["10.0.0.3"], 0));
    let back = watch.until(|update| !update.is_stale(), |update| update.endpoints.is_empty()).await;
    assert_eq!(back.endpoints, endpoints(&["10.0.0.3"]));
}

#[tokio::test]
async fn cf_7_dns_down_at_the_start_is_told_and_tried_again() {
    let mut server = NameServer::start(Reply::Silence).await;
    let mut watch = server.watch(LONG);
    let first = watch.next().await;
    assert!(first.endpoints.is_empty() && first.answered_at.is_none() && !first.is_stale(), "{first:?}");
    server.reply(Reply::Addresses(vec!["10.0.0.1"], 0));
    watch.until(|update| update.endpoints == endpoints(&["10.0.0.1"]), |update| update.error.is_some()).await;
    // The name server dies, and its port refuses.
    server.tasks.shutdown().await;
    let update = watch.until(Update::is_stale, |_| true).await;
    assert_eq!(update.endpoints, endpoints(&["10.0.0.1"]));
}
