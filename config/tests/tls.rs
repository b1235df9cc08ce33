//! With whom is TLS spoken, and who decides where nobody wrote it?

mod documents;

use documents::{DEFAULTS, SIDECAR, UPSTREAM, config, read};
use outrigger_config::describe;
use outrigger_config::model::{InboundTls, Origin, UpstreamTls};

const IDENTITY: &str = "identity: {certDir: /certs}\n";
const MUTUAL: &str = "tls: {mode: mutual}\n";
const PEER: &str = "tls: {peerIdentities: [\"spiffe://simplebank/market-data\"]}\n";

#[test]
fn se_1_an_identity_makes_ports_strict_and_nothing_else_does() {
    let tls = |documents: &[&str]| config(documents).sidecar.inbound[0].tls.clone();
    assert_eq!(tls(&[SIDECAR]), InboundTls::Off);
    assert_eq!(tls(&[SIDECAR, IDENTITY]), InboundTls::Strict { plaintext_paths: Vec::new() });
    for (word, meant) in [("off", InboundTls::Off), ("permissive", InboundTls::Permissive)] {
        let written = SIDECAR.replace("8081}", &format!("8081, tls: {word}}}"));
        assert_eq!(tls(&[&written, IDENTITY]), meant);
    }
    let probed = SIDECAR.replace("8081}", "8081, plaintextPaths: [/ping, /ready]}");
    let InboundTls::Strict { plaintext_paths } = tls(&[&probed, IDENTITY]) else { panic!("not strict") };
    assert_eq!(plaintext_paths, ["/ping", "/ready"]);
}

#[test]
fn se_1_upstreams_are_in_plaintext_until_somebody_says_whom_to_expect() {
    assert_eq!(*config(&[SIDECAR, IDENTITY, UPSTREAM]).upstreams[0].tls, UpstreamTls::Off);
    let upstream = config(&[SIDECAR, IDENTITY, DEFAULTS, MUTUAL, UPSTREAM, PEER]).upstreams.remove(0);
    let UpstreamTls::Mutual { sni: None, peers } = &*upstream.tls else { panic!("{:?}", upstream.tls) };
    assert_eq!(peers[0].to_string(), "spiffe://simplebank/market-data");
    assert!(matches!(upstream.tls.origin, Origin::Upstream(_)), "{:?}", upstream.tls.origin);
    let off = config(&[SIDECAR, IDENTITY, DEFAULTS, MUTUAL, UPSTREAM, "tls: {mode: off}\n"]);
    assert_eq!(*off.upstreams[0].tls, UpstreamTls::Off);
    let nobody = read(&[SIDECAR, IDENTITY, DEFAULTS, MUTUAL, UPSTREAM]).expect_err("nobody in particular");
    assert!(nobody.to_string().contains("without `peerIdentities`"), "{nobody}");
}

#[test]
fn se_1_the_name_that_is_asked_for_is_what_was_looked_up_unless_written() {
    let simple = |tls: &str, discovery: &str| {
        let upstream = UPSTREAM.replace("{static: [10.0.0.5:8000]}", discovery);
        let config = config(&[SIDECAR, &upstream, &format!("tls: {{mode: simple, {tls}}}\n")]);
        let UpstreamTls::Simple { sni, peers, .. } = (*config.upstreams[0].tls).clone() else {
            panic!("not simple")
        };
        (sni.unwrap_or_default(), peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let (dns, fixed) = ("{dns: rates.example.com, port: 443}", "{static: [10.0.0.5:8000]}");
    let pair = |sni: &str, peers: &str| (sni.to_owned(), peers.to_owned());
    assert_eq!(simple("", dns), pair("rates.example.com", "dns:rates.example.com"));
    assert_eq!(simple("sni: a.example.com", dns), pair("a.example.com", "dns:a.example.com"));
    assert_eq!(simple("peerIdentities: [\"dns:b\"]", dns), pair("rates.example.com", "dns:b"));
    assert_eq!(simple("peerIdentities: [\"dns:b\"]", fixed), pair("b", "dns:b"));
    assert_eq!(simple("peerIdentities: [\"spiffe://a/b\"]", fixed), pair("", "spiffe://a/b"));
}

#[test]
fn what_holds_is_described_in_the_words_of_the_schema() {
    let described =
        describe(&config(&[SIDECAR, IDENTITY, UPSTREAM, &PEER.replace("{peer", "{mode: mutual, peer")]));
    assert_eq!(described["sidecar"]["identity"]["certDir"], "/certs");
    assert_eq!(described["sidecar"]["inbound"][0]["tls"], "strict");
    assert_eq!(described["upstreams"][0]["tls"]["value"]["mode"], "mutual");
    assert_eq!(
        described["upstreams"][0]["tls"]["value"]["peerIdentities"][0],
        "spiffe://simplebank/market-data"
    );
}
