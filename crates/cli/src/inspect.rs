//! `calotype models inspect`.

use calotype::{Component, Inspection};
use serde_json::Value;

use crate::{args::Inspect, builtin, failure::Failure, model, stdout};

pub(crate) fn run(args: &Inspect) -> Result<(), Failure> {
    let inspection = match &args.path {
        Some(path) => calotype::inspect(&model::resolve(path)?)?,
        None => model::open(None)?.inspect(&format!("built-in model {}", builtin::NAME))?,
    };
    if args.json {
        let json = serde_json::to_string_pretty(&inspection);
        return stdout::print(&json.map_err(|error| Failure::Failed(format!("JSON: {error}")))?);
    }
    stdout::print(&table(&inspection))
}

/// The inspection for people.
fn table(inspection: &Inspection) -> String {
    let mut lines = Vec::new();
    let components = match inspection {
        Inspection::Diffusers {
            path,
            model_hash,
            prediction_type,
            beta_schedule,
            beta_start,
            beta_end,
            num_train_timesteps,
            default_size: (width, height),
            size_multiple,
            components,
            ..
        } => {
            lines.push(format!("{path}: a diffusers model, whole and sound"));
            lines.push(format!("hash        {} ({model_hash})", model_hash.get(..10).unwrap_or(model_hash)));
            lines.push(format!("pictures    {width} x {height}, or other multiples of {size_multiple}"));
            lines.push(format!(
                "noise       {beta_schedule} {beta_start} to {beta_end} in {num_train_timesteps} steps, predicts {prediction_type}"
            ));
            components
        }
        Inspection::Safetensors { path, sha256, metadata, components } => {
            lines.push(format!("{path}: a sound safetensors file"));
            lines.push(format!("sha256      {sha256}"));
            lines.extend(metadata.iter().map(|(key, value)| format!("metadata    {key:?}: {value:?}")));
            components
        }
        _ => return "of a kind this command does not know".to_owned(),
    };
    lines.push(String::new());
    let rows = components.iter().map(row);
    let head = ["", "tensors", "parameters", "size", "dtypes"].map(str::to_owned);
    lines.extend(aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    lines.extend(components.iter().filter_map(|c| Some(format!("\n{} {}", c.name, settings(c.config.as_ref()?)))));
    lines.join("\n")
}

fn row(component: &Component) -> [String; 5] {
    let dtypes: Vec<&str> = component.dtypes.keys().map(String::as_str).collect();
    [
        component.name.clone(),
        component.tensors.to_string(),
        component.parameters.to_string(),
        format!("{:.1} MB", component.bytes as f64 / 1e6),
        dtypes.join(", "),
    ]
}

/// Columns of equal width, numbers to the right.
fn aligned(rows: &[[String; 5]]) -> Vec<String> {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let (a, b, c, d) = (width(0), width(1), width(2), width(3));
    let line = |[name, tensors, parameters, size, dtypes]: &[String; 5]| {
        format!("{name:<a$}  {tensors:>b$}  {parameters:>c$}  {size:>d$}  {dtypes}").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A config on one line for each setting that is not null.
fn settings(config: &Value) -> String {
    let all = config.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    all.map(|(key, value)| format!("\n  {key} = {value}")).collect()
}
