//! Does any spelling of a denied path get through? At the authorization and at the routing level, over both versions.

use super::{application, before, policy};
use crate::support::caller::Caller;
use crate::support::draft::ask;
use crate::support::link::Link;
use crate::support::origin::Origin;
use crate::support::peer::Peer;
use crate::support::rig::{Rig, upstream};

/// Targets that some application reads as `/admin`, or as something below it.
const SPELLINGS: [&[u8]; 98] = [
    b"/admin",
    b"/admin/",
    b"/admin/users",
    b"/admin?x=1",
    b"/admin?",
    b"/%61dmin",
    b"/%61%64%6d%69%6e",
    b"/%61%64%6D%69%6E",
    b"/adm%69n/",
    b"/admi%6E/users",
    b"/./admin",
    b"/././admin",
    b"/x/../admin",
    b"/x/y/../../admin",
    b"/../admin",
    b"/../../admin",
    b"/x/./../admin",
    b"/x/../%61dmin",
    b"/admin/.",
    b"/admin/./users",
    b"/admin/x/..",
    b"/admin/../admin",
    b"/x/../../../admin?y",
    b"//admin",
    b"///admin",
    b"/.//admin",
    b"//admin/",
    b"/x/..//admin",
    b"/x//../admin",
    b"/x//../../admin",
    b"/admin//users",
    b"/%2e/admin",
    b"/%2E/admin",
    b"/x/%2e%2e/admin",
    b"/x/%2E%2E/admin",
    b"/x/%2e%2E/%61dmin",
    b"/x/.%2e/admin",
    b"/x/%2e./admin",
    b"/x/%2E/../../admin",
    b"/admin/%2e",
    b"/x%2f..%2fadmin",
    b"/x%2F..%2Fadmin",
    b"/x/..%2fadmin",
    b"/x/%2e%2e%2fadmin",
    b"/%2fadmin",
    b"/%2Fadmin",
    b"/.%2fadmin",
    b"/admin%2fusers",
    b"/admin%2F",
    b"\\admin",
    b"/\\admin",
    b"/x\\..\\admin",
    b"/x/..\\admin",
    b"/%5cadmin",
    b"/%5Cadmin",
    b"/x%5c..%5cadmin",
    b"/x%5C..\\admin",
    b"/admin%5cusers",
    b"/admin\\users",
    b"/admin;",
    b"/admin;x=1",
    b"/admin;x=1/users",
    b"/;/admin",
    b"/;x=1/admin",
    b"/x/..;/admin",
    b"/x/..;y=z/admin",
    b"/x/..%3b/admin",
    b"/x/.%2e;/admin",
    b"/x/%2e%2e;/admin",
    b"/x/.;/../admin",
    b"/x/y/..;/..;/admin",
    b"/admin%3bx",
    b"/admin%3Bx/users",
    b"/%252e/admin",
    b"/%2561dmin",
    b"/x/%252e%252e/admin",
    b"/x/%252e%252e%252fadmin",
    b"/x/..%252fadmin",
    b"/x/%25%32%65%25%32%65/admin",
    b"/x/%25%32e%25%32e/admin",
    b"/admin%00",
    b"/admin%00.html",
    b"/%00/../admin",
    b"/admin%0a",
    b"/admin%0d%0a",
    b"/admin%09",
    b"/admin%7f",
    b"/%c0%ae/admin",
    b"/x/%c0%ae%c0%ae/admin",
    b"/x/..%c0%afadmin",
    b"/x/..%e0%80%afadmin",
    b"/x/\xc0\xae\xc0\xae/admin",
    b"/x/%u002e%u002e/admin",
    b"/x/..%u2215admin",
    b"/admin%",
    b"/admin%2",
    b"/admin%zz",
    b"/%61dmin%2",
];

/// The same in the absolute form of HTTP/1 (RFC 9112 §3.2.2), and what is no form at all.
const ABSOLUTE: [&str; 10] = [
    "http://shop/admin",
    "http://shop/%61dmin",
    "http://shop//admin",
    "http://shop/x/../admin",
    "http://shop/x/%2e%2e/admin",
    "http://shop:80/admin",
    "HTTP://SHOP/admin",
    "http://shop./admin",
    "/admin#x",
    "admin",
];

const OTHERS: [(&str, &str); 13] = [
    ("/", "/"),
    ("/administrator", "/administrator"),
    ("/%61dministrator", "/administrator"),
    ("/a/dmin", "/a/dmin"),
    ("/x/admin", "/x/admin"),
    ("/x/./admin", "/x/admin"),
    ("/admin/../x", "/x"),
    ("/ADMIN", "/ADMIN"),
    ("/x?next=/admin/../%2e%2e//;%2f%", "/x?next=/admin/../%2e%2e//;%2f%"),
    ("/%61?%61", "/a?%61"),
    ("/.well-known/admin", "/.well-known/admin"),
    ("/100%25/a%20b/%c3%a9", "/100%25/a%20b/%C3%A9"),
    ("/a:b@c,d=e+f%3a", "/a:b@c,d=e+f%3A"),
];

/// The status that a target gets; `None`: no answer at all.
fn over_http1(sidecar: std::net::SocketAddr, target: &[u8]) -> Option<u16> {
    let head = [b"GET ", target, b" HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n"].concat();
    Some(Peer::connect(sidecar).send(head).try_message().ok()?.status())
}

fn over_http2(sidecar: std::net::SocketAddr, target: &str) -> Option<u16> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "shop"), (":path", target)];
    Some(Link::connect(sidecar).ask(&fields).ok()?.status())
}

/// Sends every spelling in every way, and answers who got anything but a refusal.
fn through(sidecar: std::net::SocketAddr, refused: &[Option<u16>]) -> Vec<String> {
    let absolute = ABSOLUTE.iter().map(|target| target.as_bytes());
    let first = SPELLINGS
        .iter()
        .copied()
        .chain(absolute)
        .map(|target| (String::from_utf8_lossy(target).into_owned(), over_http1(sidecar, target)));
    let utf8 = SPELLINGS.iter().filter_map(|target| std::str::from_utf8(target).ok());
    let second =
        utf8.chain(["admin", "/admin#x"]).map(|target| (format!("h2 {target}"), over_http2(sidecar, target)));
    let through = first.chain(second).filter(|(_, status)| !refused.contains(status));
    through.map(|(target, status)| format!("{target}: {status:?}")).collect()
}

#[test]
fn se_4_no_spelling_of_a_denied_path_passes_authorization() {
    let app = application();
    let rig = before(&app, "", &[policy("closed", "deny: [{paths: [/admin]}]")]);
    assert_eq!(through(rig.inbound, &[Some(400), Some(403), None]), Vec::<String>::new());
    assert_eq!(app.count(), 0, "{:?}", app.seen());
    others_pass(&rig, rig.inbound, &app);
}

#[test]
fn se_4_no_spelling_of_a_path_gets_around_its_route() {
    let (open, closed) = (application(), Origin::always(418));
    let route = "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: shop\nhosts: [shop]\nrules:\n  \
                 - {matches: [{path: {value: /admin}}], backendRefs: [{name: closed}]}\n  \
                 - {backendRefs: [{name: open}]}\n";
    let documents = [
        upstream("open", &[open.addr], "protocol: http1"),
        upstream("closed", &[closed.addr], "protocol: http1"),
        route.to_owned(),
    ];
    let rig = Rig::start(&documents);
    assert_eq!(through(rig.outbound, &[Some(400), Some(418), None]), Vec::<String>::new());
    assert_eq!(open.count(), 0, "{:?}", open.seen());
    assert!(closed.count() > 20, "the plain ones arrive where they belong");
    others_pass(&rig, rig.outbound, &open);
}

/// What only looks like it goes on, in its one form, with its query as it came.
#[track_caller]
fn others_pass(rig: &Rig, sidecar: std::net::SocketAddr, origin: &Origin) {
    for (target, sent) in OTHERS {
        let answer = Caller::of(sidecar).send(&ask("GET", target, "shop")).unwrap();
        assert_eq!(answer.status(), 200, "{target}: {}", answer.head);
        assert_eq!(origin.seen().last().unwrap().message.target(), sent, "{target}");
    }
    let answer = Caller::of(sidecar).send(&ask("OPTIONS", "*", "shop")).unwrap();
    assert_eq!(answer.status(), 200);
    assert!(rig.metric("protocol_errors_total", &[("reason", "path")]) > 50);
}

#[test]
fn se_4_each_refusal_says_why() {
    let app = application();
    let rig = before(&app, "", &[policy("closed", "deny: [{paths: [/admin]}]")]);
    for (target, cause) in [
        ("/a%2Fb", "path-escaped-slash"),
        ("/a//b", "path-empty-segment"),
        ("/a;b", "path-parameter"),
        ("/a%5Cb", "path-backslash"),
        ("/%2e%2e/b", "path-dot-segment"),
        ("/%252e", "path-encoding"),
        ("/a%00", "path-octet"),
    ] {
        let answer = Caller::of(rig.inbound).send(&ask("GET", target, "shop")).unwrap();
        assert_eq!((answer.status(), answer.reason()), (400, cause), "{target}");
    }
    rig.counts("requests_total", &[("code", "400"), ("flag", "DPE")], 7);
}

#[test]
fn se_4_a_path_that_no_rule_looks_at_passes_octet_by_octet() {
    let (app, origin) = (application(), application());
    let route = "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: shop\nhosts: [shop]\nrules:\n  \
                 - {matches: [{path: {value: /admin}}], backendRefs: [{name: origin}]}\n";
    let documents = [
        upstream("origin", &[origin.addr], ""),
        route.to_owned(),
        policy("callers", "deny: [{methods: [DELETE]}]"),
    ];
    let rig = before(&app, "", &documents);
    for target in ["/a%2fb//c;d/../%2e%2e/%zz\\", "//x", "/%61"] {
        let inbound = Caller::of(rig.inbound).send(&ask("GET", target, "app")).unwrap();
        let outbound = rig.caller().send(&ask("GET", target, "origin")).unwrap();
        assert_eq!((inbound.status(), outbound.status()), (200, 200), "{target}");
        assert_eq!(app.seen().last().unwrap().message.target(), target);
        assert_eq!(
            origin.seen().last().unwrap().message.target(),
            target,
            "another host's rules look at paths"
        );
    }
}

#[test]
fn se_4_what_a_listener_keeps_goes_on_and_opens_nothing() {
    let app = application();
    let keep = "paths: {escapedSlashes: keep, emptySegments: keep, parameters: keep}";
    let rig = before(&app, keep, &[policy("closed", "deny: [{paths: [/admin]}]")]);
    for target in ["/projects/a%2Fb", "/buckets//key", "/flights;class=first/7"] {
        assert_eq!(Caller::of(rig.inbound).send(&ask("GET", target, "app")).unwrap().status(), 200);
        assert_eq!(app.seen().last().unwrap().message.target(), target);
    }
    let before = app.count();
    assert_eq!(through(rig.inbound, &[Some(400), Some(403), None]), Vec::<String>::new());
    assert_eq!(app.count(), before);
}

#[test]
fn se_4_a_host_in_another_spelling_is_the_same_host() {
    let (open, closed) = (application(), Origin::always(418));
    let route = |name: &str, host: &str| {
        format!(
            "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: {name}\nhosts: [\"{host}\"]\nrules: \
             [{{backendRefs: [{{name: {name}}}]}}]\n"
        )
    };
    let documents = [
        upstream("open", &[open.addr], ""),
        upstream("closed", &[closed.addr], ""),
        route("closed", "shop.internal"),
        route("open", "*"),
    ];
    let rig = Rig::start(&documents);
    for host in [
        "shop.internal",
        "SHOP.Internal",
        "shop.internal.",
        "shop.internal:80",
        "shop.internal.:80",
        "shop.internal:",
    ] {
        assert_eq!(rig.caller().send(&ask("GET", "/", host)).unwrap().status(), 418, "{host}");
        let absolute = format!("http://{host}/");
        assert_eq!(rig.caller().send(&ask("GET", &absolute, "other")).unwrap().status(), 418, "{absolute}");
    }
    for host in ["user@shop.internal", "shop.internal@other"] {
        assert_eq!(
            rig.caller().send(&ask("GET", &format!("http://{host}/"), "other")).unwrap().status(),
            400
        );
    }
    assert_eq!(open.count(), 0);
}
