//! `calotype models inspect`.

use std::collections::BTreeMap;

use calotype::{Model, Request};
use calotype_checkpoint::{
    AdapterFit, AdapterInspection, EmbeddingInspection, FileInspection, HypernetworkInspection, Inspection,
    LoraInspection, ModelInspection, SchedulerInspection, TensorGroup, Vocabulary,
};
use serde_json::Value;

use super::{megabytes, print_json};
use crate::{args::Inspect, failure::Failure, license, model, stdout};

pub(super) fn run(args: &Inspect) -> Result<(), Failure> {
    let inspection = match (&args.path, &args.model) {
        (Some(path), Some(tried)) => {
            let model = Model::open_with(model::resolve(tried)?, &args.options.options())?;
            calotype_checkpoint::inspect_for(path, &model)?
        }
        (Some(path), None) => calotype_checkpoint::inspect(&model::resolve(path)?, &args.options.options())?,
        (None, Some(_)) => {
            return Err(Failure::usage("--model is for an adapter to be tried with: give the adapter's file"));
        }
        (None, None) => {
            let model = model::built_in()?;
            model.inspect(&format!("built-in model {}", model.name()))?
        }
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
    let sets = match (model.weights.ema, model.weights.raw, model.weights.used) {
        (true, true, used) => format!("EMA and raw; {used} in use"),
        (_, _, "ema") => "EMA".to_owned(),
        (_, _, "raw") => "raw only".to_owned(),
        _ => "one set".to_owned(),
    };
    let mut lines = vec![
        format!("{path}: a {layout} model, whole and sound"),
        format!("family      {family}{inpainting}"),
        format!("hash        {short_hash} ({model_hash})"),
        format!("licence     {}", model.license.as_ref().map_or("not stated".to_owned(), license::in_words)),
        format!("format      {format}"),
        format!("weights     {sets}"),
        format!("pictures    {width} x {height}, or other multiples of {size_multiple}"),
        match model.noise_schedule {
            Some("trained") => format!("noise       a table of its own, in {} steps", model.num_train_timesteps),
            name => format!(
                "noise       {} {} to {} in {} steps{}",
                model.beta_schedule,
                model.beta_start,
                model.beta_end,
                model.num_train_timesteps,
                name.map_or(String::new(), |name| format!(", {name}"))
            ),
        },
        format!("predicts    {} ({})", model.prediction_type, model.prediction_source),
    ];
    lines.extend(model.scheduler.iter().map(|scheduler| format!("scheduler   {}", of_scheduler(scheduler))));
    lines.extend(model.warnings.iter().map(|warning| format!("warning     {warning}")));
    lines.extend(model.vocabulary.iter().flat_map(of_vocabulary));
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

/// What a model was trained to draw.
fn of_vocabulary(vocabulary: &Vocabulary) -> Vec<String> {
    let Vocabulary { subjects, styles, backgrounds, words } = vocabulary;
    let lists = [("subjects", subjects), ("styles", styles), ("backgrounds", backgrounds)];
    let list = |(name, of): (&str, &Vec<String>)| {
        (!of.is_empty()).then(|| format!("{name:<11} {}: {}", of.len(), of.join(", ")))
    };
    let words = format!("words       {}: --json has them all", words.len());
    lists.into_iter().filter_map(list).chain([words]).collect()
}

/// The scheduler that a model was saved with: its class, which sampler that is, what it says.
fn of_scheduler(scheduler: &SchedulerInspection) -> String {
    let class = scheduler.class.as_deref().unwrap_or("of no class");
    let sampler = match scheduler.sampler {
        Some(sampler) => format!("--sampler {sampler}"),
        None => "no sampler here is like it".to_owned(),
    };
    let default = Request::default().sampler.id();
    let drawn = match scheduler.sampler {
        Some(sampler) if sampler == default => String::new(),
        _ => format!("; {default} is taken where none is named"),
    };
    let settings: Vec<String> = scheduler.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let settings = if settings.is_empty() { String::new() } else { format!("; {}", settings.join(", ")) };
    format!("{class} ({sampler}{settings}){drawn}")
}

/// The inspection of a file for people.
fn of_file(file: &FileInspection) -> Vec<String> {
    let mut lines = vec![
        format!("{}: {}", file.path, file.what),
        format!("sha256      {} ({})", file.short_hash, file.sha256),
        format!("format      {}", file.format),
    ];
    lines.extend(file.problems.iter().map(|problem| format!("problem     {problem}")));
    match &file.adapter {
        Some(AdapterInspection::Lora(lora)) => lines.extend(of_lora(lora)),
        Some(AdapterInspection::Embedding(embedding)) => lines.extend(of_embedding(embedding)),
        Some(AdapterInspection::Hypernetwork(hypernetwork)) => lines.extend(of_hypernetwork(hypernetwork)),
        _ => lines.extend(of_metadata(&file.metadata)),
    }
    lines.extend(file.fit.iter().flat_map(of_fit));
    lines.push(String::new());
    lines.extend(table(&file.components));
    lines
}

/// A file's free text, cut: each entry to a line, and not all of hundreds.
fn of_metadata(metadata: &BTreeMap<String, String>) -> Vec<String> {
    const MOST: usize = 40;
    let line = |(key, value): (&String, &String)| format!("metadata    {:?}: {:?}", cut(key), cut(value));
    let mut lines: Vec<String> = metadata.iter().take(MOST).map(line).collect();
    if metadata.len() > MOST {
        lines.push(format!("metadata    and {} more: --json has them all", metadata.len() - MOST));
    }
    lines
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// What a line begins with, and what it says if there is something to say.
fn said<'a>(lines: impl IntoIterator<Item = (&'a str, Option<String>)>) -> Vec<String> {
    lines.into_iter().filter_map(|(name, text)| Some(format!("{name:<12}{}", text?))).collect()
}

fn of_lora(lora: &LoraInspection) -> Vec<String> {
    let counted = |counts: &mut dyn Iterator<Item = (String, usize)>| {
        counts.map(|(what, count)| format!("{what} ({count})")).collect::<Vec<_>>().join(", ")
    };
    let algorithms = counted(&mut lora.algorithms.iter().map(|(name, count)| ((*name).to_owned(), *count)));
    let ranks = counted(&mut lora.ranks.iter().map(|(rank, count)| (rank.to_string(), *count)));
    let alphas = counted(&mut lora.alphas.iter().map(|alpha| (alpha.alpha.to_string(), alpha.layers)));
    let changes = |id: &str| {
        let kinds = lora.layers.get(id)?;
        let named: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', "-"))).collect();
        Some(format!("{} layers: {}", kinds.values().sum::<usize>(), named.join(", ")))
    };
    let some = |text: String| (!text.is_empty()).then_some(text);
    let widths = [("contexts", lora.context_width), ("text encoder", lora.text_width)];
    let widths: Vec<String> =
        widths.iter().filter_map(|(what, width)| Some(format!("{what} {} wide", (*width)?))).collect();
    let training = &lora.training;
    let trained = [&training.network, &training.steps.as_ref().map(|n| format!("{n} steps"))];
    let trained: Vec<&str> = trained.iter().filter_map(|text| text.as_deref()).collect();
    let pictures = match (&training.pictures, &training.resolution) {
        (Some(count), Some(size)) => Some(format!("{count} of {size}")),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    };
    let base: Vec<&str> =
        [&training.base_model, &training.base_file].iter().filter_map(|text| text.as_deref()).collect();
    let tags: Vec<String> = training.tags.iter().map(|(tag, count)| format!("{tag} {count}")).collect();
    said([
        ("lora hash", Some(lora.lora_hash.clone())),
        (
            "for",
            Some(format!("{} ({})", lora.family.unwrap_or("a family that its shapes don't tell"), widths.join(", "))),
        ),
        ("form", some(format!("{algorithms}{}", if lora.dora { ", with DoRA's lengths" } else { "" }))),
        ("ranks", some(ranks)),
        ("alphas", some(alphas)),
        ("unet", changes("unet")),
        ("text", changes("text_encoder")),
        ("text 2", changes("text_encoder_2")),
        ("embeddings", some(lora.embeddings.join(", "))),
        (
            "unknown",
            lora.first_unknown.as_ref().map(|first| format!("{} tensors, the first is {first:?}", lora.unknown)),
        ),
        ("name", training.name.clone()),
        ("trigger", training.trigger.clone()),
        ("trained on", some(base.join(", "))),
        ("trained", some(trained.join(", "))),
        ("pictures", pictures),
        ("tags", some(tags.join(", "))),
    ])
}

fn of_embedding(embedding: &EmbeddingInspection) -> Vec<String> {
    let EmbeddingInspection { family, tokens, width, name, step, base_file } = embedding;
    said([
        ("for", Some(family.unwrap_or("a family that its width doesn't tell").to_owned())),
        ("vectors", Some(format!("{tokens} tokens of a prompt, {width} wide"))),
        ("name", name.clone()),
        ("trained on", base_file.clone()),
        ("trained", step.as_ref().map(|step| format!("{step} steps"))),
    ])
}

fn of_hypernetwork(network: &HypernetworkInspection) -> Vec<String> {
    let structure = network.layer_structure.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
    let widths = network.widths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let activation = network.activation.as_deref().unwrap_or("linear");
    let at_end = if network.activate_output { " (after the last, too)" } else { "" };
    let norms = if network.layer_norm { ", layer norms" } else { "" };
    said([
        ("for", Some(network.family.unwrap_or("a family that its widths don't tell").to_owned())),
        ("contexts", Some(format!("{widths} wide"))),
        ("layers", Some(format!("{structure}; {activation}{at_end}{norms}"))),
        ("name", network.name.clone()),
        ("trained on", network.base_file.clone()),
        ("trained", network.step.as_ref().map(|step| format!("{step} steps"))),
    ])
}

fn of_fit(fit: &AdapterFit) -> Vec<String> {
    let AdapterFit { model, problem, tensors, used, unet, text_encoder, unused, .. } = fit;
    if let Some(problem) = problem {
        return vec![format!("fits        not {model:?}: {problem}")];
    }
    let layers = if unet + text_encoder > 0 {
        format!(": {unet} layers of the UNet, {text_encoder} of the text encoder")
    } else {
        String::new()
    };
    let mut lines =
        vec![format!("fits        {model:?}, which has a place for {used} of its {tensors} tensors{layers}")];
    lines.extend(unused.iter().map(|key| format!("no place    {key:?}")));
    let more = (tensors - used).saturating_sub(unused.len());
    if more > 0 {
        lines.push(format!("no place    and {more} more"));
    }
    lines
}

/// A row for each network or group of tensors.
fn table(components: &[TensorGroup]) -> Vec<String> {
    let head = ["", "tensors", "parameters", "size", "dtypes"].map(str::to_owned);
    aligned(&std::iter::once(head).chain(components.iter().map(row)).collect::<Vec<_>>())
}

fn row(component: &TensorGroup) -> [String; 5] {
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
