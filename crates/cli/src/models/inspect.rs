//! `calotype models inspect`.

use calotype::{Component, FileInspection, Inspection, ModelInspection};
use serde_json::Value;

use super::{megabytes, print_json};
use crate::{args::Inspect, builtin, failure::Failure, model, stdout};

pub(super) fn run(args: &Inspect) -> Result<(), Failure> {
    let inspection = match &args.path {
        Some(path) => calotype::inspect(&model::resolve(path)?, &args.options.options())?,
        None => model::built_in()?.inspect(&format!("built-in model {}", builtin::NAME))?,
    };
    if args.json {
        return print_json(&inspection);
    }
    let lines = match &inspection {
        Inspection::Model(model) => of_model(model),
        Inspection::File(file) => of_file(file),
        _ => vec!["of a kind this command does not know".to_owned()],
    };
    stdout::print(&lines.join("\n"))
}

/// The inspection of a model for people.
fn of_model(model: &ModelInspection) -> Vec<String> {
    let ModelInspection { path, layout, format, family, model_hash, short_hash, size_multiple, .. } = model;
    let inpainting = if model.inpainting { ", for inpainting" } else { "" };
    let (width, height) = model.default_size;
    let sets = match (model.weights.ema, model.weights.raw) {
        (true, true) => format!("EMA and raw; {} in use", model.weights.used),
        (true, false) => "EMA".to_owned(),
        _ => "one set".to_owned(),
    };
    let mut lines = vec![
        format!("{path}: a {layout} model, whole and sound"),
        format!("family      {family}{inpainting}"),
        format!("hash        {short_hash} ({model_hash})"),
        format!("format      {format}"),
        format!("weights     {sets}"),
        format!("pictures    {width} x {height}, or other multiples of {size_multiple}"),
        format!(
            "noise       {} {} to {} in {} steps",
            model.beta_schedule, model.beta_start, model.beta_end, model.num_train_timesteps
        ),
        format!("predicts    {} ({})", model.prediction_type, model.prediction_source),
    ];
    lines.extend(model.warnings.iter().map(|warning| format!("warning     {warning}")));
    lines.push(String::new());
    lines.extend(table(&model.components));
    if !model.extra.is_empty() {
        lines.push("\nnot used:".to_owned());
        lines.extend(table(&model.extra));
    }
    let configs = model.components.iter();
    lines.extend(configs.filter_map(|c| Some(format!("\n{} {}", c.name, settings(c.config.as_ref()?)))));
    lines
}

/// The inspection of a file for people.
fn of_file(file: &FileInspection) -> Vec<String> {
    let mut lines = vec![
        format!("{}: {}", file.path, file.what),
        format!("sha256      {} ({})", file.short_hash, file.sha256),
        format!("format      {}", file.format),
    ];
    lines.extend(file.problems.iter().map(|problem| format!("problem     {problem}")));
    lines.extend(file.metadata.iter().map(|(key, value)| format!("metadata    {key:?}: {value:?}")));
    lines.push(String::new());
    lines.extend(table(&file.components));
    lines
}

/// A row for each network or group of tensors.
fn table(components: &[Component]) -> Vec<String> {
    let head = ["", "tensors", "parameters", "size", "dtypes"].map(str::to_owned);
    aligned(&std::iter::once(head).chain(components.iter().map(row)).collect::<Vec<_>>())
}

fn row(component: &Component) -> [String; 5] {
    let dtypes: Vec<&str> = component.dtypes.keys().map(String::as_str).collect();
    [
        component.name.clone(),
        component.tensors.to_string(),
        component.parameters.to_string(),
        megabytes(component.bytes),
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
