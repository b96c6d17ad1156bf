//! What is found along the links of a graph.

use std::collections::HashSet;

use super::{
    graph::{Graph, Node},
    number, sampler,
};
use crate::{
    adapters::AdapterKind,
    checkpoint::ZERO_TERMINAL_SNR,
    metadata::{draft::Draft, members},
};

/// Nodes between a sampler and its picture that change nothing.
const HARMLESS: [&str; 8] = [
    "SaveImage",
    "PreviewImage",
    "VAEDecode",
    "VAEDecodeTiled",
    "Reroute",
    "Image Save",
    "SaveImageWebsocket",
    "SaveAnimatedWEBP",
];
/// Nodes of a model that change nothing.
const HARMLESS_TO_MODELS: [&str; 3] = ["Reroute", "CLIPSetLastLayer", "ModelSamplingDiscrete"];
/// How many links a prompt is followed.
const MAX_DEPTH: usize = 64;
/// Latents are an eighth as wide and high as the picture.
const SCALE: f64 = 8.0;

/// The latents that a sampler begins with.
pub(super) struct Latents<'a> {
    pub(super) size: Option<[usize; 2]>,
    pub(super) batch: usize,
    pub(super) enlarged: Option<Enlarged<'a>>,
}

/// Latents of a first pass, enlarged.
pub(super) struct Enlarged<'a> {
    pub(super) first: Node<'a>,
    pub(super) method: String,
    to: To,
}

enum To {
    Size([usize; 2]),
    Times(f64),
}

impl Enlarged<'_> {
    /// In pixels.
    pub(super) fn size(&self, first: [usize; 2]) -> [usize; 2] {
        match self.to {
            To::Size(size) => size,
            To::Times(scale) => first.map(|side| ((side as f64 / SCALE * scale).round() * SCALE) as usize),
        }
    }
}

fn is_sampler(node: Node<'_>) -> bool {
    let has = |names: &[&str]| names.iter().all(|name| node.inputs.contains_key(*name));
    has(&["sampler_name", "steps", "cfg"]) || has(&["sampler", "sigmas"])
}

impl<'a> Graph<'a> {
    /// The last sampler before the picture. If pictures of several were saved, it is that of the first.
    pub(super) fn sampler(&self, draft: &mut Draft) -> Option<Node<'a>> {
        let linked: HashSet<&str> = self.nodes().flat_map(|node| self.links(node)).map(|node| node.id).collect();
        let ends: Vec<Node> = self.nodes().filter(|node| !linked.contains(node.id)).collect();
        let saves = |node: &&Node| node.class == "SaveImage";
        let ends = ends.iter().filter(saves).chain(ends.iter().filter(|node| !saves(node)));
        let mut found: Vec<(Node, Vec<Node>)> = Vec::new();
        for &end in ends {
            let before = self.before(end);
            let sampler = before.iter().position(|node| is_sampler(*node));
            if let Some(at) = sampler.filter(|&at| found.iter().all(|(node, _)| *node != before[at])) {
                found.push((before[at], before[..at].to_vec()));
            }
        }
        let more = found.len().saturating_sub(1);
        let (sampler, after) = found.into_iter().next()?;
        if more > 0 {
            draft.note(format!("{more} more samplers made pictures in the same run: node {} is taken", sampler.id));
        }
        // What the picture's own chain has, not what is beside it.
        let on_the_way = after.into_iter().filter(|node| self.before(*node).contains(&sampler));
        for node in on_the_way.filter(|node| !HARMLESS.contains(&node.class) && !node.class.contains("Save")) {
            draft.unread(node.class, "after the sampler");
        }
        Some(sampler)
    }

    /// The latents that a sampler begins with.
    pub(super) fn latents(&self, sampler: Node<'a>, draft: &mut Draft) -> Latents<'a> {
        let mut latents = Latents { size: None, batch: 1, enlarged: None };
        let number = |node, name: &str| self.value(node, name).and_then(|value| value.as_f64());
        let mut next = ["latent_image", "latent", "samples"].into_iter().find_map(|name| self.link(sampler, name));
        let mut to = None;
        for _ in 0..MAX_DEPTH {
            let Some(node) = next else { break };
            let side =
                |names: [&str; 2]| names.into_iter().find_map(|name| number(node, name)).map(|side| side as usize);
            let size = (side(["width", "empty_latent_width"]), side(["height", "empty_latent_height"]));
            next = ["samples", "latent", "latent_image"].into_iter().find_map(|name| self.link(node, name));
            if is_sampler(node) {
                match to {
                    Some((method, to)) => latents.enlarged = Some(Enlarged { first: node, method, to }),
                    None => draft.unread("sampler before it", node.class),
                }
                return latents;
            }
            if node.class.starts_with("LatentUpscale") && next.is_some() {
                let method = self.text(node, "upscale_method").unwrap_or_default().to_owned();
                to = match (number(node, "scale_by"), size) {
                    (Some(scale), _) => Some((method, To::Times(scale))),
                    (None, (Some(width), Some(height))) => Some((method, To::Size([width, height]))),
                    _ => None,
                };
                continue;
            }
            if let (Some(width), Some(height), None) = (size.0, size.1, next) {
                latents.size = Some([width, height]);
                latents.batch = number(node, "batch_size").map_or(1, |batch| batch as usize);
                return latents;
            }
            // From a picture, or latents that another node made.
            draft.unread(node.class, "the latents that it began with");
        }
        latents
    }

    /// The prompt at an input of a sampler, none if it is not found.
    pub(super) fn prompt(&self, sampler: Node<'a>, kind: &str, draft: &mut Draft) -> Option<String> {
        let guider = self.link(sampler, "guider");
        let mut at = match guider {
            // One that guides by nothing has one prompt.
            Some(guider) if !guider.inputs.contains_key("negative") => match kind {
                "negative" => return Some(String::new()),
                _ => self.link(guider, "conditioning"),
            },
            Some(guider) => self.link(guider, kind),
            None => self.link(sampler, kind),
        };
        for _ in 0..MAX_DEPTH {
            let node = at?;
            if node.class == "ConditioningZeroOut" {
                draft.note("the negative prompt was zeros: an empty one is taken");
                return Some(String::new());
            }
            // Encoders, those of larger models, and loaders that encode.
            let texts = ["text", "text_l", "text_g", kind, "prompt"];
            if let Some(text) = texts.into_iter().find_map(|name| self.text(node, name)) {
                return Some(text.to_owned());
            }
            let inputs = [kind, "conditioning", "conditioning_1", "conditioning_to"];
            at = inputs.into_iter().find_map(|name| self.link(node, name));
            if node.class != "Reroute" {
                draft.unread(node.class, &format!("of the {kind} prompt"));
            }
        }
        None
    }

    /// Steps, seed, guidance and sampler.
    pub(super) fn settings(&self, node: Node<'a>, draft: &mut Draft) {
        let linked = |name: &str| self.link(node, name);
        // Nodes of their own have them for the sampler that is put together.
        let places = [Some(node), linked("noise"), linked("guider"), linked("sigmas"), linked("sampler")];
        let find = |names: &[&str]| {
            let values = places.into_iter().flatten().flat_map(|place| names.iter().map(move |name| (place, *name)));
            values.into_iter().find_map(|(place, name)| self.value(place, name))
        };
        for (names, known) in [
            (&["seed", "noise_seed"][..], "Seed"),
            (&["steps"], "Steps"),
            (&["cfg"], "CFG scale"),
            (&["eta"], "Eta"),
            (&["s_noise"], "Sigma noise"),
        ] {
            if let Some(value) = find(names) {
                draft.setting_as(names[0], known, &number(value));
            }
        }
        let name = find(&["sampler_name"]).and_then(|value| value.as_str()).map(str::to_owned);
        // `SamplerEulerAncestral` and its like.
        let of_class = linked("sampler").and_then(|node| node.class.strip_prefix("Sampler")).map(str::to_owned);
        let scheduler = find(&["scheduler"]).and_then(|value| value.as_str()).map(str::to_owned);
        let sigmas = linked("sigmas").and_then(|node| node.class.strip_suffix("Scheduler"));
        let scheduler = scheduler.or_else(|| sigmas.filter(|name| *name != "Basic").map(str::to_owned));
        sampler(draft, &name.or(of_class).unwrap_or_default(), &scheduler.unwrap_or_default());
        if let Some(sigmas) = linked("sigmas").filter(|node| node.class != "BasicScheduler") {
            for (name, known) in [
                ("rho", "Schedule rho"),
                ("sigma_min", "Schedule min sigma"),
                ("sigma_max", "Schedule max sigma"),
                ("alpha", "Beta schedule alpha"),
                ("beta", "Beta schedule beta"),
            ] {
                if let Some(value) = self.value(sigmas, name) {
                    draft.setting_as(name, known, &number(value));
                }
            }
        }
        let is_set =
            |name: &str, neutral: f64| find(&[name]).and_then(|value| value.as_f64()).filter(|value| *value != neutral);
        let steps = find(&["steps"]).and_then(|value| value.as_f64()).unwrap_or_default();
        if let Some(denoise) = is_set("denoise", 1.0) {
            draft.setting_as("denoise", "Denoising strength", &denoise.to_string());
        }
        if let Some(start) = is_set("start_at_step", 0.0) {
            draft.unread("start_at_step", &start.to_string());
        }
        if let Some(end) = is_set("end_at_step", steps).filter(|end| *end < steps) {
            draft.unread("end_at_step", &end.to_string());
        }
        if find(&["add_noise"]).is_some_and(|value| value == "disable" || value == false) {
            draft.unread("add_noise", "disable");
        }
    }

    /// The model, its LoRAs and the layer of the text encoder.
    pub(super) fn model(&self, sampler: Node<'a>, draft: &mut Draft) {
        let guider = self.link(sampler, "guider");
        for node in self.chain(guider.unwrap_or(sampler), "model") {
            self.model_node(node, draft);
        }
        let positive = self.link(guider.unwrap_or(sampler), "positive");
        let encoder =
            positive.into_iter().flat_map(|node| self.before(node)).find(|node| node.inputs.contains_key("clip"));
        let clips = encoder.map(|node| self.chain(node, "clip")).unwrap_or_default();
        // The layer may be a loader's own.
        let layer = clips.into_iter().chain(positive).find_map(|node| {
            let names = ["stop_at_clip_layer", "clip_skip"];
            names.into_iter().find_map(|name| self.value(node, name)).and_then(|value| value.as_i64())
        });
        if let Some(layer) = layer.filter(|layer| *layer != -1) {
            draft.setting_as("stop_at_clip_layer", "Clip skip", &layer.unsigned_abs().to_string());
        }
    }

    fn model_node(&self, node: Node<'a>, draft: &mut Draft) {
        let text = |name: &str| self.text(node, name);
        let number = |name: &str| self.value(node, name).and_then(|value| value.as_f64()).map(|number| number as f32);
        if let Some(name) = ["ckpt_name", "unet_name", "model_path"].into_iter().find_map(text) {
            draft.setting("Model", name.rsplit(['/', '\\']).next().unwrap_or(name));
            if let Some(vae) = text("vae_name").filter(|name| *name != "Baked VAE") {
                draft.unread("VAE", vae);
            }
            return;
        }
        if let Some(name) = text("hypernetwork_name") {
            return draft.adapter(AdapterKind::Hypernet, name, None, number("strength").unwrap_or(1.0));
        }
        let mut is_known = HARMLESS_TO_MODELS.contains(&node.class);
        if let Some(name) = text("lora_name") {
            let unet = number("strength_model").unwrap_or(1.0);
            let only_model = !node.inputs.contains_key("strength_clip");
            draft.lora(name, number("strength_clip").unwrap_or(if only_model { 0.0 } else { unet }), unet);
            is_known = true;
        }
        // Nodes that load several.
        for lora in node.inputs.values().filter_map(|value| value.as_object()) {
            let Some(name) = members::string(lora, "lora") else { continue };
            is_known = true;
            if lora.get("on").is_none_or(|on| on == true) {
                let unet = members::number(lora, "strength").unwrap_or(1.0) as f32;
                let text_encoder = members::number(lora, "strengthTwo").map_or(unet, |strength| strength as f32);
                draft.lora(name, text_encoder, unet);
            }
        }
        if node.class == "ModelSamplingDiscrete" && self.value(node, "zsnr").is_some_and(|value| value == true) {
            ZERO_TERMINAL_SNR.clone_into(&mut draft.metadata.noise_schedule);
        }
        if !is_known {
            draft.unread(node.class, "of the model");
        }
    }
}
