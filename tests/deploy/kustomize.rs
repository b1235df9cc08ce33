//! What would `kustomize build` give? As much of it as our files use; it refuses what it does not know.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    components: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<Generator>,
    generator_options: Option<Options>,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    files: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    disable_name_suffix_hash: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: String,
    target: Option<Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

/// All resources of an overlay.
pub fn build(dir: &Path) -> Vec<Value> {
    let mut resources = Vec::new();
    apply(dir, &mut resources);
    resources
}

/// In kustomize's order: resources, components, what is generated, patches, images.
fn apply(dir: &Path, resources: &mut Vec<Value>) {
    let whole: Kustomization = serde_saphyr::from_str(&text(&dir.join("kustomization.yaml"))).unwrap();
    for resource in &whole.resources {
        let path = dir.join(resource);
        if path.is_dir() { apply(&path, resources) } else { resources.push(parsed(&path)) }
    }
    whole.components.iter().for_each(|component| apply(&dir.join(component), resources));
    for Generator { name, files } in &whole.config_map_generator {
        assert!(whole.generator_options.as_ref().is_some_and(|of| of.disable_name_suffix_hash), "{name}");
        resources.push(config_map(dir, name, files));
    }
    whole.patches.iter().for_each(|patch| change(dir, patch, resources));
    for resource in resources {
        whole.images.iter().for_each(|image| rename(resource, image));
    }
}

fn config_map(dir: &Path, name: &str, files: &[String]) -> Value {
    let name_of = |file: &str| Path::new(file).file_name().unwrap().to_str().unwrap().to_owned();
    let data: Map<_, _> =
        files.iter().map(|file| (name_of(file), Value::String(text(&dir.join(file))))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn change(dir: &Path, patch: &Patch, resources: &mut [Value]) {
    let change = parsed(&dir.join(&patch.path));
    let fits = |resource: &Value| match &patch.target {
        Some(target) => resource["kind"] == *target.kind,
        None => {
            ["kind", "apiVersion"].iter().all(|key| resource[*key] == change[*key])
                && resource["metadata"]["name"] == change["metadata"]["name"]
        }
    };
    let mut changed = 0;
    for resource in resources.iter_mut().filter(|resource| fits(resource)) {
        let name = resource["metadata"]["name"].clone();
        merge("", resource, &change);
        resource["metadata"]["name"] = name;
        changed += 1;
    }
    assert!(changed > 0, "{} changes nothing", patch.path);
}

/// A strategic merge: lists of named things are merged by their names, and what is new comes first.
fn merge(field: &str, into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, patch) in patch {
                merge(key, into.entry(key.as_str()).or_insert(Value::Null), patch);
            }
        }
        (Value::Array(into), Value::Array(patch)) if key_of(field).is_some() => {
            let key = key_of(field).unwrap();
            let mut new = Vec::new();
            for patch in patch {
                match into.iter_mut().find(|of| of[key] == patch[key]) {
                    Some(of) => merge("", of, patch),
                    None => new.push(patch.clone()),
                }
            }
            into.splice(0..0, new);
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// `patchMergeKey` of the API.
fn key_of(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "volumes" | "env" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

fn rename(resource: &mut Value, image: &Image) {
    match resource {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "image" && text.split(':').next() == Some(&image.name) => {
                        *text = format!("{}:{}", image.new_name, image.new_tag);
                    }
                    value => rename(value, image),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename(value, image)),
        _ => {}
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parsed(path: &Path) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
