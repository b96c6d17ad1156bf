//! The API of AUTOMATIC1111's stable-diffusion-webui, `/sdapi/v1`, as its clients use it.
//!
//! | to find | look in |
//! |---|---|
//! | how a body becomes a request | `request.rs`, with `prompts.rs`, `hires.rs` and `init.rs`; its members `fields.rs`, its scripts `scripts.rs` |
//! | what a key has chosen | `settings.rs`, its routes `options.rs` |
//! | the answer | `answer.rs` |

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

mod answer;
mod extras;
mod fields;
mod generate;
mod hires;
mod init;
mod lists;
mod memory;
mod models;
mod options;
mod progress;
mod prompts;
mod request;
mod scripts;
mod settings;

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use memory::Memory;

use crate::app::App;

/// All routes, each with its description.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(generate::txt2img))
        .routes(routes!(generate::img2img))
        .routes(routes!(progress::progress))
        .routes(routes!(progress::interrupt))
        .routes(routes!(progress::skip))
        .routes(routes!(progress::of_task))
        .routes(routes!(progress::pending))
        .routes(routes!(options::get, options::set))
        .routes(routes!(options::refresh_checkpoints))
        .routes(routes!(options::refresh_vae))
        .routes(routes!(options::refresh_embeddings))
        .routes(routes!(options::refresh_loras))
        .routes(routes!(options::unload))
        .routes(routes!(options::reload))
        .routes(routes!(lists::sd_models))
        .routes(routes!(lists::sd_vae))
        .routes(routes!(lists::loras))
        .routes(routes!(lists::hypernetworks))
        .routes(routes!(lists::embeddings))
        .routes(routes!(lists::samplers))
        .routes(routes!(lists::schedulers))
        .routes(routes!(lists::upscalers))
        .routes(routes!(lists::latent_upscale_modes))
        .routes(routes!(lists::prompt_styles))
        .routes(routes!(lists::memory))
        .routes(routes!(lists::cmd_flags))
        .routes(routes!(lists::scripts))
        .routes(routes!(lists::script_info))
        .routes(routes!(lists::extensions))
        .routes(routes!(lists::face_restorers))
        .routes(routes!(lists::realesrgan_models))
        .routes(routes!(extras::single))
        .routes(routes!(extras::batch))
        .routes(routes!(extras::png_info))
}
