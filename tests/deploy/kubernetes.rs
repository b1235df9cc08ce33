//! Would Kubernetes take it, and does it fit together? The overlays as `kustomize build` gives them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_config::scalars::{NonZeroDuration, Scalar};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::kustomize::build;
use super::{found, is_valid, missing, path};

/// The oldest and the newest whose schemas are at hand: native sidecars are of 1.29.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];

fn overlays() -> [(PathBuf, Vec<Value>); 2] {
    ["explicit", "redirect"].map(|overlay| {
        let dir = path("kubernetes/overlays").join(overlay);
        let built = build(&dir);
        (dir, built)
    })
}

fn of_kind<'v>(resources: &'v [Value], kind: &str) -> &'v Value {
    resources.iter().find(|resource| resource["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn pod(resources: &[Value]) -> &Value {
    &of_kind(resources, "Deployment")["spec"]["template"]
}

fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    list.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|list| pod["spec"][list].as_array().unwrap())
}

#[test]
fn u_25_kubernetes_takes_what_is_its_own() {
    let there = Command::new("python3").args(["-c", "import kubernetes_validate"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        return missing("kubernetes-validate", "PyPI's `kubernetes-validate`");
    }
    let dir = TempDir::new().unwrap();
    for (overlay, resources) in overlays() {
        // The others are custom: the schemas know nothing of them.
        let own = |of: &&Value| ["Deployment", "Service", "ConfigMap"].iter().any(|kind| of["kind"] == *kind);
        let files: Vec<_> = resources
            .iter()
            .filter(own)
            .map(|resource| {
                let file = dir.path().join(format!("{}.json", resource["kind"].as_str().unwrap()));
                fs::write(&file, resource.to_string()).unwrap();
                file
            })
            .collect();
        assert_eq!(files.len(), 3, "{}", overlay.display());
        for version in VERSIONS {
            let words = ["-m", "kubernetes_validate", "--strict", "-k", version];
            let output = Command::new("python3").args(words).args(&files).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} for {version}: {said}", overlay.display());
        }
    }
}

#[test]
fn u_25_the_policies_of_kubernetes_are_valid() {
    for (overlay, resources) in overlays() {
        is_valid(&overlay.join("policy"));
        let data = of_kind(&resources, "ConfigMap")["data"].as_object().unwrap();
        let is_read = |name: &String| Path::new(name).extension().is_some_and(|ending| ending == "yaml");
        assert!(data.keys().all(is_read), "{:?}", data.keys());
    }
}

#[test]
fn u_1_u_2_the_sidecar_starts_first_and_ends_last() {
    for (overlay, resources) in overlays() {
        let pod = pod(&resources);
        let order: Vec<_> =
            pod["spec"]["initContainers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        let redirects = overlay.ends_with("redirect");
        let expected =
            if redirects { json!(["outrigger-intercept", "outrigger"]) } else { json!(["outrigger"]) };
        assert_eq!(json!(order), expected, "rules before the sidecar, and both before all else");
        let sidecar = named(&pod["spec"]["initContainers"], "outrigger");
        assert_eq!(sidecar["restartPolicy"], "Always");
        let probe = |name: &str| sidecar[name]["httpGet"]["path"].as_str().unwrap();
        // Ready may mean that the application is, and that waits for this one.
        assert_eq!(
            ["startupProbe", "livenessProbe", "readinessProbe"].map(probe),
            ["/startupz", "/livez", "/readyz"]
        );
        assert_eq!(sidecar["lifecycle"]["preStop"]["exec"]["command"][1], "drain");
        let hook = &named(&pod["spec"]["containers"], "holdings")["lifecycle"]["preStop"]["sleep"]["seconds"];
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        let policy = fs::read_to_string(overlay.join("policy/holdings.yaml")).unwrap();
        let drain = NonZeroDuration::parse(found(r"drain: (\w+)", &policy)[0]).unwrap();
        assert!(grace > hook.as_u64().unwrap() + std::time::Duration::from(drain).as_secs(), "{grace}");
    }
}

#[test]
fn se_4_containers_have_no_privilege_but_the_one_that_rules_take() {
    for (_, resources) in overlays() {
        for container in containers(pod(&resources)) {
            let (name, may) = (&container["name"], &container["securityContext"]);
            assert_eq!(may["capabilities"]["drop"], json!(["ALL"]), "{name}");
            assert_eq!(may["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(may["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(may["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            let intercepts = name == "outrigger-intercept";
            assert_eq!(may["runAsNonRoot"], !intercepts, "{name}");
            let added = if intercepts { json!(["NET_ADMIN"]) } else { Value::Null };
            assert_eq!(may["capabilities"]["add"], added, "{name}");
        }
        let sidecar = named(&pod(&resources)["spec"]["initContainers"], "outrigger");
        assert_eq!(sidecar["securityContext"]["runAsUser"], 2102, "whom the rules leave alone");
    }
}

#[test]
fn u_8_what_is_mounted_is_there_and_mounted_whole() {
    let certificate = build(&path("kubernetes/components/cert-manager"));
    for (overlay, resources) in overlays() {
        let pod = pod(&resources);
        for mount in containers(pod).flat_map(|one| one["volumeMounts"].as_array().into_iter().flatten()) {
            assert!(mount.get("subPath").is_none(), "never updated: {mount}");
            named(&pod["spec"]["volumes"], mount["name"].as_str().unwrap());
        }
        let volume = |name: &str| named(&pod["spec"]["volumes"], name).clone();
        let policy = &volume("outrigger-policy")["configMap"]["name"];
        assert_eq!(*policy, of_kind(&resources, "ConfigMap")["metadata"]["name"], "{}", overlay.display());
        let identity = &volume("outrigger-identity")["secret"]["secretName"];
        assert_eq!(*identity, certificate[0]["spec"]["secretName"]);
    }
}

#[test]
fn ob_1_the_monitor_finds_the_pods_and_their_port() {
    for (_, resources) in overlays() {
        let (pod, monitor) = (pod(&resources), &of_kind(&resources, "PodMonitor")["spec"]);
        let labels = pod["metadata"]["labels"].as_object().unwrap();
        let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
        assert!(wanted.iter().all(|(name, value)| labels.get(name) == Some(value)), "{labels:?}");
        assert!(labels.contains_key(monitor["jobLabel"].as_str().unwrap()));
        let sidecar = named(&pod["spec"]["initContainers"], "outrigger");
        let port = named(&sidecar["ports"], monitor["podMetricsEndpoints"][0]["port"].as_str().unwrap());
        assert_eq!(port["containerPort"], 15020);
        assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], "15020");
    }
}
