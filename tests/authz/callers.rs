//! What does the application learn of its caller? What was proved, and nothing that somebody says.

use super::{application, before};
use crate::support::caller::Caller;
use crate::support::draft::{ask, get};
use crate::support::link::Link;
use crate::support::origin::Origin;
use crate::support::rig::{Rig, upstream};

const SPELLINGS: [&str; 3] =
    ["x-forwarded-client-cert", "X-Forwarded-Client_Cert", "x_forwarded_client_cert"];

#[test]
fn se_4_nobody_says_himself_who_he_is() {
    let app = application();
    let rig = before(&app, "protocol: http1", &[]);
    for name in SPELLINGS {
        let forged = get("app").with(name, "URI=spiffe://bank/root").with(name, "By=x").with("x-other", "1");
        assert_eq!(Caller::of(rig.inbound).send(&forged).unwrap().status(), 200);
    }
    let forged = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "app"),
        (":path", "/"),
        ("x-forwarded-client-cert", "URI=spiffe://bank/root"),
        ("x_forwarded-client-cert", "URI=spiffe://bank/root"),
        ("x-other", "1"),
    ];
    assert_eq!(Link::connect(rig.inbound).ask(&forged).expect("an answer").status(), 200);
    assert_eq!(app.count(), 4);
    for seen in app.seen() {
        assert!(!seen.message.head.contains("spiffe:"), "{}", seen.message.head);
        assert_eq!(seen.message.field("x-other"), Some("1"));
    }
}

#[test]
fn se_4_what_the_application_sends_out_is_its_own_affair() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("shop", &[origin.addr], "")]);
    rig.caller().send(&get("shop").with("x-forwarded-client-cert", "URI=a")).unwrap();
    assert_eq!(origin.seen()[0].message.field("x-forwarded-client-cert"), Some("URI=a"));
}

#[test]
fn se_6_what_callers_entrust_to_us_is_told_to_nobody() {
    let app = application();
    let rig = before(&app, "", &[]);
    let secrets = ["s3cr3t-bearer", "s3cr3t-cookie", "s3cr3t-query", "s3cr3t-body", "s3cr3t-cert"];
    let request = ask("POST", "/login?token=s3cr3t-query", "app")
        .with("authorization", "Bearer s3cr3t-bearer")
        .with("cookie", "session=s3cr3t-cookie")
        .with("x-forwarded-client-cert", "Cert=s3cr3t-cert")
        .with_body("password=s3cr3t-body");
    assert_eq!(Caller::of(rig.inbound).send(&request).unwrap().status(), 200);
    assert!(app.seen()[0].message.head.contains("s3cr3t-bearer"), "it arrives");
    let log = rig.logged(1).iter().map(ToString::to_string).collect::<String>();
    let admin = |path| Caller::of(rig.control).send(&ask("GET", path, "admin")).unwrap().text();
    let told = [rig.scrape(), admin("/config"), admin("/upstreams"), admin("/faults"), log, rig.complaints()];
    for secret in secrets {
        assert!(told.iter().all(|told| !told.contains(secret)), "{secret} is told");
    }
}
