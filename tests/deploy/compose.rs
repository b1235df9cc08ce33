//! Would Compose start it? What `docker-compose` itself says, what is mounted, and the policies.

use std::path::Path;

use serde_json::Value;

use super::{is_valid, passes, path, read};

const FILES: [&[&str]; 2] =
    [&["-f", "compose/compose.yaml"], &["-f", "compose/compose.yaml", "-f", "compose/compose.redirect.yaml"]];

#[test]
fn u_25_compose_takes_both_variants_and_finds_what_they_mount() {
    for files in FILES {
        let words = [files, &["config"]].concat();
        let Some(said) = passes("docker-compose", "Debian's `docker-compose`", &words, "") else { return };
        let whole: Value = serde_saphyr::from_str(&said).unwrap();
        for (name, service) in whole["services"].as_object().unwrap() {
            let mounts = service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for from in
                mounts.filter_map(|mount| mount.split(':').next()).filter(|from| from.starts_with('/'))
            {
                assert!(Path::new(from).exists(), "{name} mounts {from}, which is not there");
            }
            if service["image"].as_str().unwrap().starts_with("outrigger") {
                is_held_tight(name, service);
            }
        }
    }
}

/// No privilege but what rules take, and nothing to write to but its volumes.
fn is_held_tight(name: &str, service: &Value) {
    assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
    assert_eq!(service["read_only"], true, "{name}");
    assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
    let more = service["cap_add"].as_array().map_or(0, Vec::len);
    assert_eq!(more, usize::from(name.ends_with("-intercept")), "{name}");
}

#[test]
fn u_25_the_policies_of_compose_are_valid() {
    for policy in ["holdings", "market-data", "redirect"] {
        is_valid(&path("compose").join(policy));
    }
}

#[test]
fn grafana_finds_its_data_source_and_its_dashboard() {
    let compose = read("compose/compose.yaml");
    let provider: Value =
        serde_saphyr::from_str(&read("grafana/provisioning/dashboards/outrigger.yaml")).unwrap();
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(compose.contains(&format!("outrigger.json:{folder}/outrigger.json:ro")), "{folder}");
    let source: Value =
        serde_saphyr::from_str(&read("grafana/provisioning/datasources/prometheus.yaml")).unwrap();
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090", "the name of a service");
}
