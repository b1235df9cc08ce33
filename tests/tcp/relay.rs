//! Do octets pass as they are? Both ways, in any amount, and each end for itself.

use super::{echo, leading_to};
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes};
use crate::support::scripted::Upstream;

const OUTBOUND: (&str, &str) = ("direction", "outbound");
const INBOUND: (&str, &str) = ("direction", "inbound");

#[test]
fn octets_pass_out_of_the_service_and_each_direction_ends_for_itself() {
    let server = echo();
    let (rig, port) = leading_to(&[server.addr], "");
    let mut peer = Peer::connect(port);
    let content: Vec<u8> = (0..3_000_000_u32).map(|nth| nth.to_le_bytes()[nth as usize % 3]).collect();
    peer.send(&content).finish();
    let (said, end) = peer.rest();
    assert!(said == content, "{} octets of {}", said.len(), content.len());
    assert_eq!(end, End::Closed);
    let labels = [OUTBOUND, ("route", "-"), ("upstream", "db")];
    rig.counts("tcp_connections_total", &[labels[0], labels[1], labels[2], ("flag", "-")], 1);
    rig.counts("tcp_received_bytes_total", &labels, 3_000_000);
    rig.counts("tcp_sent_bytes_total", &labels, 3_000_000);
    rig.counts("connections_active", &[OUTBOUND, ("protocol", "tcp")], 0);
    rig.counts("requests_total", &[], 0);
}

#[test]
fn octets_pass_into_the_service() {
    let server = Upstream::new(|call| {
        call.peer.send("220 ready\r\n");
        let said = call.peer.exactly(6).unwrap();
        call.peer.send(said);
    });
    let wishes = Wishes { app: Some(server.addr), inbound: "protocol: tcp".to_owned(), ..Wishes::default() };
    let rig = Rig::with(&wishes, &[]);
    let mut peer = Peer::connect(rig.inbound);
    assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n", "a server may speak first");
    rig.counts("connections_active", &[INBOUND, ("protocol", "tcp")], 1);
    peer.send("QUIT\r\n");
    assert_eq!(peer.rest(), (b"QUIT\r\n".to_vec(), End::Closed));
}
