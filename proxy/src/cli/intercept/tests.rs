//! Are the rules those of the policy, and does nft take them?

use std::io::Write;
use std::process::{Command, Stdio};

use outrigger_config::Source;

use super::*;

const BOTH: &str = "\
apiVersion: outrigger/v1
kind: Sidecar
name: holdings
inbound: [{port: 8080, capture: redirect, forwardTo: original}, {port: 9000, forwardTo: 127.0.0.1:9001},
          {port: 8081, capture: redirect, forwardTo: 127.0.0.1:8082}]
inboundCapture: {excludePorts: [9100, 15090-15120]}
outbound: {capture: redirect, unknown: allow, excludePorts: [5432, 53],
           excludeCidrs: [169.254.169.254, 10.1.0.0/16, 10.0.0.0/8, \"fd00:ec2::254\"]}
";

fn ruleset(policy: &str, mark: Option<u32>) -> Option<Ruleset> {
    let source = Source { name: "policy.yaml".to_owned(), text: policy.to_owned() };
    let config = outrigger_config::parse(&[source]).unwrap_or_else(|errors| panic!("{errors}"));
    Ruleset::of(&config, 2102, mark)
}

/// Whether nft would take them; `true` where there is no nft.
fn is_taken(rules: &str) -> bool {
    let piped = Stdio::piped;
    // A namespace of its own, so that the rules of this one are not even looked at, and no privilege is needed.
    let nft =
        Command::new("unshare").args(["-rn", "nft", "-c", "-f", "-"]).stdin(piped()).stderr(piped()).spawn();
    let Ok(mut nft) = nft else { return skipped("`unshare`") };
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap_or_default();
    let output = nft.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("failed to execute") || said.contains("unshare failed") {
        return skipped("`nft`, or the right to a namespace");
    }
    assert!(output.status.success(), "{said}\n{rules}");
    true
}

#[allow(clippy::print_stderr, reason = "a test that shows nothing says so")]
fn skipped(what: &str) -> bool {
    eprintln!("SKIPPED: {what} is missing, so nothing is known of what nft says to the rules");
    true
}

#[test]
fn cf_9_the_rules_are_a_function_of_the_policy() {
    let rules = ruleset(BOTH, None).unwrap().to_string();
    let wanted = "\
table inet outrigger {}
delete table inet outrigger
table inet outrigger {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		meta l4proto != tcp return
		fib daddr type != local return
		tcp dport { 9000, 9100, 15000-15120 } return
		meta l4proto tcp counter redirect to :15006
	}
	chain from_sidecar {
		oifname != \"lo\" return
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		meta priority 0:6 return
		tcp dport { 9000, 9100, 15000-15120 } return
		meta l4proto tcp counter redirect to :15006
	}
	chain output {
		type nat hook output priority -100; policy accept;
		meta l4proto != tcp return
		meta skuid 2102 jump from_sidecar
		meta skuid 2102 return
		oifname \"lo\" ip daddr != 127.0.0.0/8 tcp dport 8081 redirect to :8082
		oifname \"lo\" return
		tcp dport { 53, 5432 } return
		ip daddr { 169.254.169.254/32, 10.0.0.0/8 } return
		ip6 daddr { fd00:ec2::254/128 } return
		meta l4proto tcp counter redirect to :15001
	}
}
";
    assert_eq!(rules, wanted);
    assert!(is_taken(&rules));
}

#[test]
fn cf_9_one_direction_alone_redirects_nothing_of_the_other() {
    let head = "apiVersion: outrigger/v1\nkind: Sidecar\nname: holdings\n";
    let outbound = format!("{head}outbound: {{capture: redirect, excludeCidrs: []}}\n");
    let outbound = ruleset(&outbound, Some(7)).unwrap().to_string();
    assert!(!outbound.contains("15006") && !outbound.contains("daddr"), "{outbound}");
    assert!(outbound.contains("\t\tmeta skuid 2102 return\n\t\tmeta mark 7 return\n"), "{outbound}");
    let inbound = format!(
        "{head}inbound: [{{port: 8080, capture: redirect, forwardTo: 127.0.0.1:8080}}]\n\
         inboundCapture: {{port: 16006}}\noutbound: {{}}\n"
    );
    let inbound = ruleset(&inbound, None).unwrap().to_string();
    assert!(!inbound.contains("redirect to :15001"), "{inbound}");
    assert!(inbound.contains("tcp dport { 15000-15099, 16006 } return"), "{inbound}");
    assert!(is_taken(&outbound) && is_taken(&inbound) && is_taken(IDLE) && is_taken(NONE));
    assert_eq!(ruleset(&format!("{head}outbound: {{}}\n"), None), None);
}
