//! Starts from an image in memory: no file is read or written before the result.
//!
//! ```sh
//! cargo run --release -p calotype --features builtin --example img2img -- cat.png
//! ```

use calotype::{
    Model, Pipeline, PipelineOptions, Request, RgbImage,
    request::{Init, InputImage},
};
use calotype_image::encode_png;

fn main() -> calotype::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "cat.png".to_owned());
    // A yellow disc on blue, as a program might have drawn it or received it: the bytes of a PNG, JPEG or WebP file.
    let inside = |x: i32, y: i32| (x - 32).pow(2) + (y - 32).pow(2) < 400;
    let pixel = |n: i32| if inside(n % 64, n / 64) { [250, 200, 60] } else { [40, 90, 220] };
    let drawn = RgbImage::new(64, 64, (0..64 * 64).flat_map(pixel).collect())?;
    let init = Init { strength: 0.8, ..Init::new(InputImage::from_bytes(&encode_png(&drawn, &[])?)?) };
    let pipeline = Pipeline::load(Model::built_in()?, PipelineOptions::default())?;
    let request = Request { init: Some(init), ..Request::new("a cat on a blue background") };
    pipeline.generate(request)?.finish()?.images[0].save_png(path)
}
