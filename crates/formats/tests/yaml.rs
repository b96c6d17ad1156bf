//! YAML configs: what they say, and what is refused.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype_formats::parse_yaml;
use serde_json::json;

const CONFIG: &str = r#"
model:  # a comment
  base_learning_rate: 1.0e-04
  params:
    linear_start: 0.00085
    first_stage_key: "jpg"
    use_ema: False
    scheduler_config:
      params: {warm_up_steps: [ 10000 ], f_start: [ 1.e-6 ], 'quoted': '7'}
    ch_mult:
    - 1
    - -2
    nothing:
    version: 1.2.3
    paths: |
      models/a
      models/b
"#;

#[test]
fn a_config_is_read() {
    let expected = json!({"model": {"base_learning_rate": 1e-4, "params": {
        "linear_start": 0.00085, "first_stage_key": "jpg", "use_ema": false,
        "scheduler_config": {"params": {"warm_up_steps": [10000], "f_start": [1e-6], "quoted": "7"}},
        "ch_mult": [1, -2], "nothing": null, "version": "1.2.3", "paths": "models/a\nmodels/b\n",
    }}});
    assert_eq!(parse_yaml(CONFIG, "config").unwrap(), expected);
}

fn refused(text: &str, message: &str) {
    let error = parse_yaml(text, "v1.yaml").unwrap_err().to_string();
    assert!(error.starts_with("v1.yaml: ") && error.contains(message) && !error.contains('\n'), "{error}");
}

#[test]
fn what_is_no_plain_config_is_refused() {
    refused("", "nothing in it");
    refused("a: [1, 2", "not valid YAML");
    refused("a: 1\na: 2", r#"the key "a" is there twice"#);
    refused("{[1]: 2}", "keys are texts");
    refused("a: 1\n---\nb: 2", "a second document");
    refused("a: &x 1", "anchors");
    refused("a: !!python/object/apply:os.system ['id']", "tags");
    refused(&"[".repeat(100), "nested deeper than 32");
    refused(&format!("a: {}", "x".repeat(70_000)), "has at most 65536");
    // A billion laughs (CVE-2003-1564's form).
    refused("a: &a [lol]\nb: &b [*a, *a, *a]\nc: [*b, *b]", "anchors");
}

/// The longest config of each sign alone: an answer or an error, and no endless walk.
#[test]
fn one_sign_again_and_again() {
    const SIGNS: &[u8] = b"[]{}:,-#&*!|>'\"%@`?~ \n\t\r0a\\\xff\x00";
    let start = std::time::Instant::now();
    for sign in SIGNS {
        let text = String::from_utf8_lossy(&[*sign]).repeat(65_000);
        let _ = parse_yaml(&text, "x");
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
