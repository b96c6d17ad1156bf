//! What is written of the server is so: its settings and their defaults, its metrics, the files in `deploy/`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use calotype_formats::parse_yaml;
use calotype_server::Config;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn document() -> String {
    read("docs/serving.md")
}

/// A part of the document, from its heading to the next.
fn part(heading: &str) -> String {
    let text = document();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no part {heading}"));
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The cells of a row of a table whose first is a name in code.
fn row(line: &str) -> Option<(&str, Vec<&str>)> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split(" | ").map(str::trim).collect();
    Some((cells.first()?.strip_prefix('`')?.strip_suffix('`')?, cells))
}

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calotype.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path).map_err(|error| error.to_string())
}

/// The settings that there are in a section, as the reader of the config says them itself.
fn known(section: &str) -> BTreeSet<String> {
    let error = load(&format!("{section}\nno_such_setting = 1\n")).unwrap_err();
    let (_, expected) = error.split_once("expected").unwrap_or_else(|| panic!("{error}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_setting_is_in_the_document_with_its_default() {
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut section, mut defaults) = (String::new(), String::new());
    for line in part("Settings").lines() {
        if let Some(name) = line.strip_prefix("`[").and_then(|rest| rest.split('`').next()) {
            section = format!("[{name}");
            // A list of tables has nothing that would be a default.
            if !section.starts_with("[[") {
                defaults.push_str(&format!("{section}\n"));
            }
        }
        let Some((name, cells)) = row(line) else { continue };
        sections.entry(section.clone()).or_default().insert(name.to_owned());
        if let Some(value) = cells[1].strip_prefix('`').filter(|_| !section.starts_with("[[")) {
            defaults.push_str(&format!("{name} = {}\n", value.strip_suffix('`').unwrap()));
        }
    }
    let tables: Vec<String> =
        sections.keys().filter(|name| !name.is_empty()).map(|name| name.trim_matches(['[', ']']).to_owned()).collect();
    sections.get_mut("").unwrap().extend(tables);
    for (section, documented) in &sections {
        assert_eq!(*documented, known(section), "section {section:?} of docs/serving.md");
    }
    let mut written = load(&defaults).unwrap_or_else(|error| panic!("{error} in\n{defaults}"));
    let real = Config::default();
    written.data.clone_from(&real.data);
    assert_eq!(format!("{written:#?}"), format!("{real:#?}"), "the defaults in docs/serving.md");
}

#[test]
fn the_example_is_the_file_and_can_be_loaded() {
    let example = read("deploy/calotype.toml");
    let (comment, settings) = example.split_once('\n').unwrap();
    assert!(comment.starts_with('#'));
    assert!(
        document().contains(&format!("```toml\n{settings}```")),
        "docs/serving.md has another deploy/calotype.toml"
    );
    let config = Config::load(&root().join("deploy/calotype.toml")).unwrap();
    assert!(config.behind_proxy && config.hosts == ["images.example.org"]);
    calotype_publish::Rules::open(config.safety.rules.as_deref().unwrap()).unwrap();
}

/// The metrics in the source, each with its type.
fn metrics() -> BTreeMap<String, &'static str> {
    fn scan(folder: &Path, found: &mut BTreeMap<String, &'static str>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                scan(&entry.path(), found);
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            for kind in ["counter", "gauge", "histogram"] {
                for rest in text.split(&format!("metrics::{kind}!(")).skip(1) {
                    found.insert(rest.split('"').nth(1).unwrap().to_owned(), kind);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    scan(&root().join("crates/server/src"), &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

#[test]
fn every_metric_is_in_the_document() {
    let text = part("Metrics");
    let documented: BTreeMap<String, &str> =
        text.lines().filter_map(row).map(|(name, cells)| (name.to_owned(), cells[1])).collect();
    assert_eq!(documented, metrics());
}

/// Checks that an expression of Prometheus has no metric that there is not.
fn check_expression(expression: &str, metrics: &BTreeMap<String, &str>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = ["calotype_", "http_server_", "process_"];
    let names = expression.split(|c| !is_name(c)).filter(|name| ours.iter().any(|start| name.starts_with(start)));
    for name in names {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let kind = metrics.get(histogram.unwrap_or(name));
        assert_eq!(kind == Some(&"histogram"), histogram.is_some(), "{name} in {expression}");
        assert!(kind.is_some(), "there is no {name}: {expression}");
    }
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let (dashboard, metrics) = (read("deploy/grafana.json"), metrics());
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut shown) = (BTreeSet::new(), String::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        assert!(!panel["description"].as_str().unwrap().is_empty());
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{expression}");
            check_expression(expression, &metrics);
            shown.push_str(expression);
        }
    }
    for name in metrics.keys() {
        assert!(shown.contains(name.as_str()), "no panel shows {name}");
    }
}

#[test]
fn the_alerts_are_of_metrics_that_there_are() {
    let (alerts, metrics) = (parse_yaml(&read("deploy/alerts.yaml"), "alerts.yaml").unwrap(), metrics());
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        check_expression(rule["expr"].as_str().unwrap(), &metrics);
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{rule}");
    }
}

/// The documents of a file of YAML.
fn manifests(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = text.split("\n---\n").map(|document| parse_yaml(document, path).unwrap());
    documents.collect()
}

/// Every value of a name, wherever it is.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            if key == name {
                found.push(value);
            }
            all(value, name, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        _ => {}
    }
}

fn routes() -> Vec<String> {
    let description = serde_json::to_value(calotype_server::openapi()).unwrap();
    description["paths"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn probes_ask_routes_that_there_are_by_a_name_of_the_server() {
    let (manifests, routes) = (manifests("deploy/kubernetes.yaml"), routes());
    let mut probes = Vec::new();
    manifests.iter().for_each(|manifest| all(manifest, "httpGet", &mut probes));
    assert_eq!(probes.len(), 3);
    for probe in probes {
        assert!(routes.iter().any(|route| route == probe["path"].as_str().unwrap()), "{probe}");
        assert_eq!(probe["httpHeaders"][0], serde_json::json!({"name": "Host", "value": "localhost"}));
    }
    let kind = |kind: &str| manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap();
    let config = load(kind("ConfigMap")["data"]["calotype.toml"].as_str().unwrap()).unwrap();
    let pod = &kind("Deployment")["spec"]["template"]["spec"];
    let pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > config.drain_seconds + pause);
    assert_eq!(pod["containers"][0]["ports"][0]["containerPort"], u64::from(config.listen.port()));
}

#[test]
fn manifests_can_be_parsed_and_name_each_other() {
    let key = &manifests("deploy/kubernetes-first-key.yaml")[0];
    let mut claims = Vec::new();
    all(key, "claimName", &mut claims);
    let manifests = manifests("deploy/kubernetes.yaml");
    manifests.iter().for_each(|manifest| all(manifest, "claimName", &mut claims));
    let is_there = |name: &Value| {
        manifests
            .iter()
            .any(|manifest| manifest["kind"] == "PersistentVolumeClaim" && manifest["metadata"]["name"] == *name)
    };
    assert!(claims.len() == 3 && claims.into_iter().all(is_there));

    let compose = parse_yaml(&read("deploy/compose.yaml"), "compose.yaml").unwrap();
    let service = &compose["services"]["calotype"];
    let dockerfile = service["build"]["dockerfile"].as_str().unwrap();
    assert_eq!(root().join("deploy").join(service["build"]["context"].as_str().unwrap()).join(dockerfile), {
        root().join("deploy/../deploy/Dockerfile")
    });
    // Without a shell the program asks itself.
    assert_eq!(service["healthcheck"]["test"][2], "health");
    assert!(read("deploy/Dockerfile").contains("\"/usr/local/bin/calotype\", \"health\""));
}

#[test]
fn links_and_commands_lead_somewhere() {
    let (text, routes) = (document(), routes());
    let slug = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    let headings: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| slug(line.trim_start_matches('#').trim()))
        .collect();
    for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        match link.strip_prefix('#') {
            Some(anchor) => assert!(headings.contains(anchor), "no heading {anchor}"),
            None if link.starts_with("https://") => {}
            None => assert!(root().join("docs").join(link).exists(), "no file {link}"),
        }
    }
    for file in fs::read_dir(root().join("deploy")).unwrap().map(|entry| entry.unwrap().file_name()) {
        let name = file.to_string_lossy();
        assert!(
            name.ends_with(".dockerignore") || text.contains(&format!("deploy/{name}")),
            "nothing is said of {name}"
        );
    }
    for path in text.split("$URL/v1/").skip(1) {
        let path = path.split(|c: char| c.is_whitespace() || matches!(c, '"' | '?' | ')')).next().unwrap();
        let parts: Vec<&str> = "v1".split('/').chain(path.split('/')).collect();
        let is_route = |route: &&String| {
            let known: Vec<&str> = route.trim_start_matches('/').split('/').collect();
            known.len() == parts.len()
                && known.iter().zip(&parts).all(|(known, part)| known.starts_with('{') || known == part)
        };
        assert!(routes.iter().any(|route| is_route(&route)), "there is no route for $URL/v1/{path}");
    }
}
