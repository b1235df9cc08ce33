//! Does every sample parse and fit the published schema, and does each broken file yield exactly its message?
//!
//! `UPDATE_EXPECT=1 cargo test -p outrigger-config --test examples` rewrites the messages; read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use outrigger_config::{Source, describe, parse, schema};

/// Fewer broken files than this and some went missing.
const BROKEN: usize = 205;

#[test]
fn every_sample_parses_and_describes_itself() {
    for path in yaml_files("examples") {
        let config = parse(&[source(&path)]).unwrap_or_else(|errors| panic!("{}\n{errors}", path.display()));
        let described = describe(&config);
        assert_eq!(described["sidecar"]["name"], "holdings", "{}", path.display());
        assert_eq!(described, describe(&config.clone()));
    }
}

#[test]
fn the_schema_on_one_screen_is_a_policy() {
    let source = fs::read_to_string(directory("src/lib.rs")).expect("a readable file");
    let fenced = source.lines().skip_while(|line| *line != "//! ```yaml").skip(1);
    let text = fenced.map_while(|line| line.strip_prefix("//! ")).take_while(|line| *line != "```");
    let text = text.collect::<Vec<_>>().join("\n");
    let config =
        parse(&[Source { name: "lib.rs".to_owned(), text }]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.upstreams.len(), config.routes.len(), config.rate_limits.len()), (2, 1, 1));
    assert_eq!(config.authorization.len(), 1);
}

#[test]
fn every_sample_fits_the_published_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is a schema");
    for path in yaml_files("examples") {
        for document in documents(&source(&path).text) {
            let errors: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        }
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses_for_its_shape() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is a schema");
    let shape = [
        "unknown-field",
        "misspelt-value",
        "bare-number",
        "missing-name",
        "wrong-unit",
        "empty-list",
        "header-list-of-upstream",
        "upgrade-to-h2c",
        "false-flag",
        "probe-without-slash",
        "hash-on-cookie",
        "key-of-nobody",
        "concurrency-without-max",
        "store-with-password",
        "fallback-for-customers",
        "fault-without-end",
        "part-of-a-trust-domain",
        "wildcard-in-a-path",
        "identity-of-a-domain",
        "identity-by-prefix",
        "identity-without-scheme",
    ];
    for name in shape {
        let text = source(&directory("examples/invalid").join(format!("{name}.yaml"))).text;
        assert!(
            documents(&text).iter().any(|document| !validator.is_valid(document)),
            "{name} fits the schema"
        );
    }
}

#[test]
fn cf_2_every_broken_file_yields_exactly_its_message() {
    let files = yaml_files("examples/invalid");
    assert!(files.len() > BROKEN, "{} broken files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let Err(errors) = parse(&[source(&path)]) else {
            wrong.push(format!("{}: accepted", path.display()));
            continue;
        };
        let printed = format!("{errors}\n");
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected, &printed).expect("a writable source tree");
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if wanted != printed {
            wrong.push(format!("{}\n--- expected\n{wanted}--- printed\n{printed}", path.display()));
        }
        let faults = if path.file_stem().is_some_and(|name| name == "five-faults") { 5 } else { 1 };
        if errors.count() != faults {
            wrong.push(format!(
                "{}: {} faults instead of {faults}\n{printed}",
                path.display(),
                errors.count()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_message_is_left_without_its_file() {
    for entry in fs::read_dir(directory("examples/invalid")).expect("the broken files") {
        let path = entry.expect("a readable directory").path();
        assert!(path.with_extension("yaml").is_file(), "{} explains nothing", path.display());
    }
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn yaml_files(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory(name)).expect("the samples");
    let paths = entries.map(|entry| entry.expect("a readable directory").path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn source(path: &Path) -> Source {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    Source { name, text: fs::read_to_string(path).expect("a readable file") }
}

/// The documents as JSON, read by another reader of YAML 1.2 than the crate's own tree.
fn documents(text: &str) -> Vec<serde_json::Value> {
    let yaml_1_2 = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options(text, yaml_1_2).expect("YAML")
}
