//! Is a wrong generation refused as a whole, with everything that is wrong, and does no input break the parser?

use std::sync::LazyLock;

use outrigger_config::model::{Config, HostPattern, PathMatch};
use outrigger_config::{Errors, Source, parse};
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../examples/routing.yaml");

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn errors(files: &[Source]) -> Errors {
    parse(files).expect_err("a wrong generation")
}

fn one(text: &str) -> Result<Config, Errors> {
    parse(&[source("policy.yaml", text)])
}

#[test]
fn cf_1_faults_of_all_files_are_reported_together_in_order() {
    let files = [
        source(
            "a.yaml",
            "apiVersion: outrigger/v1\nkind: Sidecar\nname: holdings\noutbund: {}\ninbound: []\n",
        ),
        source(
            "b.yaml",
            "apiVersion: outrigger/v1\nkind: Upstream\nname: [broken\n---\napiVersion: outrigger/v1\nkind: Upsteam\n",
        ),
        source(
            "c.yaml",
            "apiVersion: outrigger/v1\nkind: Upstream\nname: market-data\ndiscovery: {static: [10.0.0.5:0]}\n",
        ),
    ];
    let errors = errors(&files);
    let places: Vec<_> = errors.iter().map(|error| error.location.to_string()).collect();
    assert_eq!(places, ["a.yaml:4:1", "a.yaml:5:10", "b.yaml:3:7", "b.yaml:6:7", "c.yaml:4:22"]);
    assert!(errors.to_string().ends_with("\n5 errors"), "{errors}");
}

#[test]
fn cf_2_a_misspelt_key_is_located_and_the_right_one_is_named() {
    let text = SAMPLE.replace("    timeouts: {request: 500ms}", "    timeout: {request: 500ms}");
    let errors = one(&text).expect_err("a misspelt key");
    let error = errors.iter().next().expect("one error");
    assert_eq!(error.message, "unknown field `timeout`");
    assert_eq!(error.help.as_deref(), Some("did you mean `timeouts`?"));
    assert_eq!(error.line_text, "    timeout: {request: 500ms}");
    let json = errors.to_json();
    assert_eq!(json["count"], 1);
    assert_eq!(json["errors"][0]["line"], 41);
    assert_eq!(json["errors"][0]["column"], 5);
}

#[test]
fn cf_6_one_text_means_the_same_everywhere() {
    let environment = SAMPLE.replace("/prices/eur", "'/${HOME}/$PATH/~'");
    let config = one(&environment).expect("variables are plain text");
    assert_eq!(config.routes[0].rules[0].matches[0].path, PathMatch::Exact("/${HOME}/$PATH/~".to_owned()));
    let again = one(&environment).expect("variables are plain text");
    assert_eq!(config, again);
    let host = HostPattern::Suffix(".market-data.internal".to_owned());
    assert_eq!(config.routes[0].hosts[1], host, "a name is kept, not looked up");
}

#[test]
fn documents_may_be_spread_over_files_in_any_order() {
    let documents: Vec<_> = SAMPLE.split("---\n").collect();
    let files: Vec<_> =
        documents.iter().rev().enumerate().map(|(n, text)| source(&format!("{n}.yaml"), text)).collect();
    let config = parse(&files).expect("one generation");
    assert_eq!((config.upstreams.len(), config.routes.len()), (2, 2));
    let together = one(SAMPLE).expect("one generation");
    assert_eq!(config.sidecar, together.sidecar);
}

#[test]
fn aliases_repeat_what_they_name_and_their_fault_counts_once() {
    let text = "\
apiVersion: outrigger/v1
kind: Sidecar
name: holdings
outbound: {}
---
apiVersion: outrigger/v1
kind: Upstream
name: market-data
discovery: {static: [10.0.0.5:8000]}
---
apiVersion: outrigger/v1
kind: HTTPRoute
name: prices
hosts: [market-data]
rules:
  - {matches: [{method: GET}], timeouts: &short {request: 2s}, backendRefs: &to [{name: market-data}]}
  - {matches: [{method: PUT}], timeouts: *short, backendRefs: *to}
";
    assert_eq!(one(text).expect("aliases").routes[0].rules.len(), 2);
    assert_eq!(one(&text.replace("2s", "2")).expect_err("no unit").count(), 1);
}

#[test]
fn yaml_1_2_has_no_word_but_true_and_false_for_a_boolean() {
    let text =
        SAMPLE.replacen("outbound: {}", "outbound: {}\naccessLog: {format: off}", 1).replace("gold", "no");
    assert!(!one(&text).expect("`off` and `no` are text").sidecar.access_log.enabled);
}

#[test]
fn no_file_and_empty_files_lack_a_sidecar() {
    for files in [vec![], vec![source("a.yaml", "")], vec![source("a.yaml", "# nothing\n---\n---\n")]] {
        let errors = errors(&files);
        assert_eq!(errors.count(), 1, "{errors}");
        assert!(errors.to_string().contains("no document of kind `Sidecar`"), "{errors}");
    }
}

#[test]
fn a_broken_document_does_not_make_references_to_it_dangle() {
    let text = SAMPLE.replacen("name: archive\ndiscovery: {", "name: archive\ndiscovery: {statik: [], ", 1);
    let errors = one(&text).expect_err("a misspelt key");
    assert_eq!(errors.count(), 1, "{errors}");
}

#[test]
fn a_file_of_garbage_is_bounded() {
    let keys = (0..200).map(|n| format!("wrong{n}: 1")).collect::<Vec<_>>().join(", ");
    let list = format!(
        "apiVersion: outrigger/v1\nkind: Sidecar\nname: a\ninbound: [{}]\n",
        vec![format!("{{{keys}}}"); 20].join(", ")
    );
    let errors = one(&list).expect_err("garbage");
    assert!(errors.count() > 4000);
    assert_eq!(errors.iter().count(), 1000);
    assert!(errors.to_string().len() < 1 << 20);
    let huge = errors_of_huge_file();
    assert!(huge.contains("larger than 4 MiB"), "{huge}");
}

fn errors_of_huge_file() -> String {
    one(&" ".repeat((4 << 20) + 1)).expect_err("a huge file").to_string()
}

/// The samples, cut into pieces that a mutation puts together anew.
static PIECES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let samples = [
        SAMPLE,
        include_str!("../examples/retries.yaml"),
        include_str!("../examples/sidecar.yaml"),
        include_str!("../examples/upgrades.yaml"),
        include_str!("../examples/breakers.yaml"),
        include_str!("../examples/rate-limits.yaml"),
        include_str!("../examples/fallbacks.yaml"),
        include_str!("../examples/faults.yaml"),
        include_str!("../examples/mtls.yaml"),
        include_str!("../examples/invalid/five-faults.yaml"),
    ];
    samples
        .into_iter()
        .flat_map(|text| text.split_inclusive([' ', '\n', ':', '{', '}', '[', ']', ',']))
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = one(&text).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_shuffled_policy_panics(pieces in prop::collection::vec(0..usize::MAX, 0..120)) {
        let text: String = pieces.iter().map(|piece| PIECES[piece % PIECES.len()]).collect();
        let _ = one(&text).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_damaged_policy_panics(at in 0..SAMPLE.len(), length in 0..40_usize, insert in "[\\PC\n\t\r&*!|>%@`\"'{}\\[\\]#:-]{0,6}") {
        let (mut from, mut to) = (at, (at + length).min(SAMPLE.len()));
        while !SAMPLE.is_char_boundary(from) { from -= 1; }
        while !SAMPLE.is_char_boundary(to) { to -= 1; }
        let text = format!("{}{insert}{}", &SAMPLE[..from], &SAMPLE[to.max(from)..]);
        if let Err(errors) = one(&text) {
            prop_assert!(errors.count() > 0);
            let printed = errors.to_string();
            prop_assert!(printed.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", printed);
        }
    }
}
