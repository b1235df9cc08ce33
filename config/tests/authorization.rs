//! What can be written of who may do what, of odd paths and of the admin side, and what does it mean?

mod documents;

use std::path::PathBuf;

use documents::{SIDECAR, config, read};
use outrigger_config::model::{
    AdminAddress, AuthorizationPolicy, Config, Direction, IdentityMatch, Mode, Oddity, PathMatch, Paths,
    PeerIdentity,
};
use outrigger_config::{defaults, describe};

fn identified(lines: &str) -> Result<Config, outrigger_config::Errors> {
    let sidecar = SIDECAR.replace("inbound:", "identity: {certDir: /certs}\ninbound:");
    let policy = "---\napiVersion: outrigger/v1\nkind: AuthorizationPolicy\nname: callers\n";
    read(&[&sidecar, &format!("{policy}{lines}\n")])
}

fn policy(lines: &str) -> AuthorizationPolicy {
    identified(lines).unwrap_or_else(|errors| panic!("{errors}")).authorization.remove(0)
}

/// What is wrong with such a policy.
fn fault(lines: &str) -> String {
    let errors = identified(lines).expect_err(lines);
    assert_eq!(errors.count(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn se_4_a_policy_is_inbound_and_acts_unless_it_says_otherwise() {
    let policy = policy("allow: []");
    assert_eq!((policy.mode, policy.direction), (Mode::Enforce, Direction::Inbound));
    assert_eq!((policy.allow, policy.deny), (Some(Vec::new()), Vec::new()));
    assert!(identified("mode: off\nallow: []").is_ok_and(|config| config.authorization.is_empty()));
    assert_eq!(self::policy("mode: dryRun\ndeny: [{methods: [GET]}]").allow, None);
}

#[test]
fn se_4_an_identity_is_one_or_a_whole_trust_domain() {
    let rule =
        policy("allow: [{identities: [\"spiffe://bank/ui\", \"dns:UI.bank.\", \"spiffe://bank/*\"]}]").allow;
    let identities = rule.expect("the list").remove(0).identities;
    let texts: Vec<_> = identities.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["spiffe://bank/ui", "dns:ui.bank", "spiffe://bank/*"]);
    assert!(
        matches!(&identities[0], IdentityMatch::One(PeerIdentity::Spiffe(id)) if id.trust_domain() == "bank")
    );
    assert_eq!(identities[2], IdentityMatch::TrustDomain("bank".into()));
    for part in
        ["spiffe://bank*", "spiffe://*/ui", "spiffe://bank/ns/*", "spiffe://bank/u*", "*", "dns:*.bank"]
    {
        let told = fault(&format!("allow: [{{identities: [\"{part}\"]}}]"));
        assert!(told.contains("error:"), "{told}");
    }
    assert!(fault("allow: [{identities: [\"spiffe://bank\"]}]").contains("workload's path"));
    assert!(
        fault("allow: [{identities: [\"spiffe://bank/a\", \"spiffe://bank/a\"]}]")
            .contains("duplicate identity")
    );
}

#[test]
fn se_4_paths_are_those_of_routes_and_a_text_is_a_prefix() {
    let rules = "deny: [{paths: [/admin/, {type: Exact, value: \"/my report\"}, {type: RegularExpression, value: '/v[12]'}]}]";
    let paths = policy(rules).deny.remove(0).paths;
    assert_eq!(
        paths[..2],
        [PathMatch::Prefix("/admin".to_owned()), PathMatch::Exact("/my report".to_owned())]
    );
    assert!(matches!(&paths[2], PathMatch::Regex(regex) if regex.is_match("/v1") && !regex.is_match("/v12")));
    for (path, told) in [
        ("/a//b", "an empty segment"),
        ("/./a", "segment `.`"),
        ("\"/a%20b\"", "decoded"),
        ("\"/a;b\"", "parameters"),
        ("'/a\\b'", "is refused"),
        ("admin", "does not start with `/`"),
    ] {
        let fault = fault(&format!("deny: [{{paths: [{path}]}}]"));
        assert!(fault.contains(told), "{fault}");
    }
}

#[test]
fn se_4_a_policy_describes_itself_as_it_is_written() {
    let rules = "deny: [{name: closed, paths: [/admin], methods: [POST]}]\nallow: [{sources: [10.0.0.0/8]}]";
    let told = describe(&identified(rules).unwrap_or_else(|errors| panic!("{errors}")));
    let told = &told["authorization"][0];
    assert_eq!((&told["mode"], &told["direction"]), (&"enforce".into(), &"inbound".into()));
    assert_eq!(told["deny"][0]["name"], "closed");
    assert_eq!(told["deny"][0]["paths"][0]["value"], "/admin");
    assert_eq!(
        (&told["allow"][0]["name"], &told["allow"][0]["sources"][0]),
        (&"allow-0".into(), &"10.0.0.0/8".into())
    );
}

#[test]
fn se_6_a_value_that_is_a_credential_is_not_described() {
    let rules =
        "deny: [{headers: [{name: Authorization, value: Bearer s3cr3t}, {name: x-tier, value: gold}]}]";
    let told = describe(&identified(rules).unwrap_or_else(|errors| panic!("{errors}"))).to_string();
    assert!(told.contains("authorization") && told.contains("gold") && !told.contains("s3cr3t"), "{told}");
}

#[test]
fn se_4_odd_paths_are_refused_unless_a_listener_keeps_them() {
    let sidecar =
        SIDECAR.replace("outbound: {}", "outbound: {paths: {escapedSlashes: keep, parameters: keep}}");
    let sidecar = config(&[&sidecar]).sidecar;
    assert_eq!(sidecar.inbound[0].paths, Paths::default());
    let kept =
        Paths { escaped_slashes: Oddity::Keep, empty_segments: Oddity::Refuse, parameters: Oddity::Keep };
    assert_eq!(sidecar.outbound.map(|outbound| outbound.paths), Some(kept));
}

#[test]
fn se_4_the_admin_side_is_open_to_others_only_by_an_explicit_word() {
    let admin = |admin: &str| read(&[&format!("{SIDECAR}admin: {{{admin}}}\n")]);
    let listen = |text: &str| admin(text).map(|config| config.sidecar.admin.listen);
    assert_eq!(listen(""), Ok(AdminAddress::Port(defaults::ADMIN_LISTEN)));
    let file = AdminAddress::File(PathBuf::from("/run/outrigger.sock"));
    assert_eq!(listen("listen: \"unix:/run/outrigger.sock\""), Ok(file));
    for address in ["0.0.0.0:15000", "10.0.0.1:15000", "\"[::]:15000\""] {
        let told = admin(&format!("listen: {address}")).expect_err(address).to_string();
        assert!(told.contains("or say `exposed: true`"), "{told}");
        assert!(admin(&format!("listen: {address}, exposed: true")).is_ok());
    }
    for text in ["exposed: true", "listen: 127.0.0.1:1, exposed: true", "listen: \"unix:/a\", exposed: true"]
    {
        assert!(admin(text).is_err(), "{text}");
    }
}
