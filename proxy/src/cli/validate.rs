//! Is a policy valid? Every fault at once, without network and without secrets.

use std::path::{Path, PathBuf};

use clap::Args;
use outrigger_config::model::Config;
use serde_json::{Value, json};

use super::policy::{Policy, PolicyError};
use super::{Failure, Output, print};

/// Say everything that is wrong with policy files; exit 0 valid, 1 invalid
#[derive(Debug, Args)]
pub(super) struct Validate {
    /// Files or directories of `*.yaml`; each is a generation of its own
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "text|json")]
    output: Output,
}

/// Looks at every path, whatever is wrong with those before.
pub(super) fn run(asked: &Validate) -> Result<(), Failure> {
    let found: Vec<_> = asked.paths.iter().map(|path| (path, Policy::load(path))).collect();
    let faults: Vec<_> =
        found.iter().filter_map(|(_, found)| found.as_ref().err().map(ToString::to_string)).collect();
    match asked.output {
        Output::Json => {
            let generations: Vec<_> = found.iter().map(|(path, found)| describe(path, found)).collect();
            let result = json!({ "valid": faults.is_empty(), "generations": generations });
            print(format_args!("{result:#}\n"))?;
            if faults.is_empty() { Ok(()) } else { Err(Failure::Said) }
        }
        Output::Text => {
            for (path, policy) in found.iter().filter_map(|(path, found)| Some((path, found.as_ref().ok()?)))
            {
                print(format_args!("{}: valid: {}\n", path.display(), contents(&policy.config)))?;
            }
            if faults.is_empty() { Ok(()) } else { Err(Failure::Because(faults.join("\n\n"))) }
        }
    }
}

fn contents(config: &Config) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (upstreams, routes) = (config.upstreams.len(), config.routes.len());
    format!("sidecar {}, {}, {}", config.sidecar.name, count(upstreams, "upstream"), count(routes, "route"))
}

/// `path`, `valid`, `count`, `errors`; an error that is no file's fault has a message and nothing else.
fn describe(path: &Path, found: &Result<Policy, PolicyError>) -> Value {
    let mut described = match found {
        Ok(_) => json!({ "count": 0, "errors": [] }),
        Err(PolicyError::Invalid(errors)) => errors.to_json(),
        Err(PolicyError::Unreadable(error)) => {
            json!({ "count": 1, "errors": [{ "message": error.to_string() }] })
        }
    };
    described["path"] = json!(path.display().to_string());
    described["valid"] = json!(found.is_ok());
    described
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn cf_1_all_paths_are_judged_and_one_fault_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let sidecar = "apiVersion: outrigger/v1\nkind: Sidecar\nname: a\noutbound: {}\n";
        let good = write("good.yaml", sidecar);
        let bad = write("bad.yaml", &format!("{sidecar}adnim: {{}}\nlimits: {{backlog: -1}}\n"));
        let judge = |paths: &[&PathBuf]| {
            run(&Validate { paths: paths.iter().copied().cloned().collect(), output: Output::Text })
        };
        assert!(judge(&[&good]).is_ok());
        let Err(Failure::Because(text)) = judge(&[&bad, &good, &dir.path().join("none")]) else { panic!() };
        for told in ["adnim", "bad.yaml:5:1", "bad.yaml:6:", "2 errors", "none"] {
            assert!(text.contains(told), "{told} in {text}");
        }
        let described = describe(&bad, &Policy::load(&bad));
        assert_eq!((&described["valid"], &described["count"]), (&json!(false), &json!(2)));
    }
}
