//! What is not made anew stays as it is: sizes that are no whole number of latents, and masks of which nothing is left.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use calotype::{
    Image, Keep, Model, Pipeline, PipelineOptions, Precision, Request, RgbImage, RgbaImage,
    metadata::Metadata,
    request::{Init, Inpaint, InputImage, ResizeMode, Sides, Tiling},
    sampling::ScheduleKind,
};
use calotype_image::GrayImage;
use tempfile::TempDir;

use crate::common::{Sizes, begin, values};

/// No whole number of the small model's latents, of 4 x 4 pixels.
const SIZE: [u32; 2] = [35, 26];
/// The next that is.
const WHOLE: [u32; 2] = [36, 28];

fn picture([width, height]: [u32; 2]) -> RgbImage {
    let count = (width * height * 3) as usize;
    let data = values("picture", count).iter().map(|x| ((x * 0.5 + 0.5) * 255.0).floor() as u8).collect();
    RgbImage::new(width, height, data).unwrap()
}

/// White from the column and row on.
fn mask([width, height]: [u32; 2], [column, row]: [u32; 2]) -> GrayImage {
    let at = |n: u32| if n % width >= column && n / width >= row { 255 } else { 0 };
    GrayImage::new(width, height, (0..width * height).map(at).collect()).unwrap()
}

fn input(mask: &GrayImage) -> InputImage {
    mask.to_rgb().into()
}

fn pipeline(for_inpainting: bool) -> (TempDir, Pipeline) {
    let folder = TempDir::new().unwrap();
    let mut sizes = Sizes::default();
    if for_inpainting {
        sizes.unet.in_channels = 9;
    }
    sizes.write(folder.path());
    let model = Arc::new(Model::open(folder.path()).unwrap());
    let options = PipelineOptions { keep: Keep::All, ..Default::default() };
    (folder, Pipeline::load(model, options).unwrap())
}

fn request(init: Init) -> Request {
    Request { prompt: "a tree".into(), num_inference_steps: 3, init: Some(init), ..Default::default() }
}

fn made(pipeline: &Pipeline, request: &Request) -> Image {
    begin(pipeline, request).unwrap().finish().unwrap().images.remove(0)
}

fn size(picture: &RgbImage) -> [u32; 2] {
    [picture.width(), picture.height()]
}

/// Of every mode: the size is the picture's, what is not masked its pixels, and what is masked that of the picture with
/// its edges continued to a whole number of latents.
#[test]
fn sizes_and_pixels_are_kept() {
    let masked = mask(SIZE, [20, 9]);
    for for_inpainting in [false, true] {
        let (_folder, pipeline) = pipeline(for_inpainting);
        for only_masked_padding in [None, Some(2)] {
            let inpaint = Inpaint { mask_blur: 0.0, only_masked_padding, ..Inpaint::new(Some(input(&masked))) };
            let init = Init { inpaint: Some(inpaint.clone()), ..Init::new(picture(SIZE).into()) };
            let image = made(&pipeline, &request(init)).pixels;
            assert_eq!(size(&image), SIZE);
            let pixels = || {
                image
                    .data()
                    .chunks(3)
                    .zip(picture(SIZE).into_data().chunks(3).map(<[u8]>::to_vec).collect::<Vec<_>>())
                    .zip(masked.data())
            };
            assert!(pixels().filter(|(_, mask)| **mask == 0).all(|((new, old), _)| new == old));
            let changed = pixels().filter(|(_, mask)| **mask == 255).filter(|((new, old), _)| new != old).count();
            assert!(changed > masked.data().iter().filter(|&&x| x == 255).count() * 9 / 10);
            if only_masked_padding.is_none() {
                let [width, height] = WHOLE;
                let mask = Some(input(&masked.framed(0, 0, width, height)));
                let inpaint = Some(Inpaint { mask, ..inpaint });
                let init = Init { inpaint, ..Init::new(picture(SIZE).framed(0, 0, width, height).into()) };
                assert_eq!(made(&pipeline, &request(init)).pixels.crop(0, 0, SIZE[0], SIZE[1]), image);
            }
        }
    }
    let (_folder, pipeline) = pipeline(false);
    for resize_mode in [ResizeMode::JustResize, ResizeMode::Crop, ResizeMode::Fill, ResizeMode::Latent] {
        let init = Init { resize_mode, ..Init::new(picture(SIZE).into()) };
        let image = made(&pipeline, &request(init.clone())).pixels;
        let whole = picture(SIZE).framed(0, 0, WHOLE[0], WHOLE[1]);
        let whole = made(&pipeline, &request(Init { picture: whole.into(), ..init })).pixels;
        assert_eq!((size(&image), size(&whole)), (SIZE, WHOLE));
        assert_eq!(whole.crop(0, 0, SIZE[0], SIZE[1]), image, "{resize_mode}");
    }
    let sides = Sides { left: 6, top: 3, ..Sides::default() };
    let init = Init { outpaint: Some(sides), ..Init::new(picture(SIZE).into()) };
    let image = made(&pipeline, &request(init)).pixels;
    assert_eq!(size(&image), [41, 29]);
    assert_eq!(image.crop(6, 3, SIZE[0], SIZE[1]), picture(SIZE));
}

/// A size that is asked for is that of the result, as before; one side alone leaves the other at a whole number of latents.
#[test]
fn sizes_that_are_asked_for_are_resized_to() {
    let (_folder, pipeline) = pipeline(false);
    let request = request(Init::new(picture(SIZE).into()));
    let planned = |request: &Request| {
        let plan = pipeline.plan(request.clone()).unwrap();
        ([plan.width, plan.height], plan.latents_shape[1..3].to_vec(), plan.final_size())
    };
    let with = |width, height| planned(&Request { width, height, ..request.clone() });
    let own = [35, 26];
    assert_eq!(with(None, None), (own, vec![7, 9], own));
    assert_eq!(with(Some(35), Some(26)), (own, vec![7, 9], own));
    assert_eq!(with(Some(32), None), ([32, 24], vec![6, 8], [32, 24]));
    assert_eq!(with(Some(32), Some(24)), ([32, 24], vec![6, 8], [32, 24]));
    assert_eq!(with(Some(64), Some(40)), ([64, 40], vec![10, 16], [64, 40]));
    let error = pipeline.plan(Request { width: Some(34), ..request.clone() }).unwrap_err().to_string();
    assert_eq!(error, "width 34 is not a multiple of 4, which this model needs: give 32 or 36");
    let tiling = pipeline.plan(Request { tiling: Tiling::X, ..request.clone() }).unwrap_err().to_string();
    assert_eq!(tiling, "width 35 is not a multiple of 8, which seamless tiling needs: give 32 or 40");
    // CompVis' scripts go down to multiples of 32.
    let compvis = Request { schedule: ScheduleKind::Compvis, num_inference_steps: 4, ..request.clone() };
    assert_eq!(planned(&compvis).0, [32, 32]);
    // As versions before 0.2 wrote it of outpainting: up to a whole number of latents.
    let sides = Some(Sides { left: 6, top: 3, ..Sides::default() });
    let grown = Request { init: Some(Init { outpaint: sides, ..Init::new(picture([32, 24]).into()) }), ..request };
    assert_eq!(planned(&grown).0, [38, 27]);
    let before = Request { width: Some(40), height: Some(28), ..grown.clone() };
    assert_eq!(planned(&before).0, [40, 28]);
    let wrong = pipeline.plan(Request { width: Some(44), ..grown }).unwrap_err().to_string();
    assert_eq!(wrong, "the picture and its new sides have 38 x 27 pixels: leave width and height out");
}

#[test]
fn an_odd_size_is_remade_from_its_metadata() {
    let (_folder, pipeline) = pipeline(false);
    let of = |init: Init| {
        let run = begin(&pipeline, &request(init)).unwrap();
        let plan = run.plan().clone();
        let image = run.finish().unwrap().images.remove(0);
        let metadata = Metadata::new(pipeline.model(), &plan, Precision::F32, 0).unwrap();
        let mut again = Metadata::from_json(&metadata.to_json()).unwrap().request;
        again.init = plan.request().init.clone();
        assert_eq!(made(&pipeline, &again).pixels, image.pixels);
        [again.width.unwrap(), again.height.unwrap()]
    };
    let init = Init::new(picture(SIZE).into());
    let sides = Some(Sides { right: 7, ..Sides::default() });
    assert_eq!(of(Init { outpaint: sides, ..init.clone() }), [42, 26]);
    let inpaint = Some(Inpaint::new(Some(input(&mask(SIZE, [12, 0])))));
    assert_eq!(of(Init { inpaint, ..init.clone() }), [35, 26]);
    assert_eq!(of(init), [35, 26]);
}

/// Each with the reason.
#[test]
fn masks_of_which_nothing_is_left_are_refused() {
    let (_folder, pipeline) = pipeline(false);
    let size = [32, 24];
    let refused = |init: Init, message: &str| {
        let error = pipeline.plan(request(init)).expect_err(message);
        assert!(error.is_request(), "{error}");
        assert_eq!(error.to_string(), message);
    };
    let with = |inpaint: Inpaint| Init { inpaint: Some(inpaint), ..Init::new(picture(size).into()) };
    let of = |mask: InputImage| Inpaint { mask_blur: 0.0, ..Inpaint::new(Some(mask)) };
    let plain = |rgb: [u8; 3]| InputImage::from(RgbImage::filled(32, 24, rgb));
    refused(with(of(plain([0; 3]))), "the mask is empty, so nothing would change: paint white what is to be made anew");
    refused(
        with(Inpaint { invert_mask: true, ..of(plain([255; 3])) }),
        "the inverted mask is empty, so nothing would change: paint black in the mask what is to be made anew",
    );
    refused(
        with(Inpaint::new(None)),
        "the picture has no transparent parts, so nothing would change: give a mask, or make transparent what is to be made anew",
    );
    // PIL's grey value of red is 76 and of green 150.
    refused(
        with(of(plain([255, 0, 0]))),
        "the mask is nowhere brighter than 76 of 255 as a grey value, and only what has 128 or more is made anew: paint that white",
    );
    assert!(pipeline.plan(request(with(of(plain([0, 255, 0]))))).is_ok());
    assert!(pipeline.plan(request(with(Inpaint { invert_mask: true, ..of(plain([255, 0, 0])) }))).is_ok());
    // Six pixels in a corner of four latents are not masked away; blurred they are, and two pixels never count.
    let spot = |side: u32| {
        let mut mask = GrayImage::filled(32, 24, [0]);
        mask.paste(&GrayImage::filled(side, side, [255]), 12, 12);
        input(&mask)
    };
    assert!(pipeline.plan(request(with(of(spot(6))))).is_ok());
    refused(
        with(Inpaint { mask_blur: 6.0, ..of(spot(6)) }),
        "the mask blur of 6 pixels leaves nothing of the mask, so nothing would be made anew: lower mask_blur, or paint a larger part",
    );
    refused(
        with(Inpaint { mask_blur: 6.0, ..of(spot(1)) }),
        "what is masked is smaller than half of a latent, which is 4 x 4 pixels, so nothing would be made anew: make it larger",
    );
    // At full size that part is large enough.
    assert!(pipeline.plan(request(with(Inpaint { only_masked_padding: Some(0), ..of(spot(1)) }))).is_ok());
    refused(
        Init { outpaint: Some(Sides { left: 1, ..Sides::default() }), ..Init::new(picture(size).into()) },
        "the new sides are smaller than half of a latent, which is 4 x 4 pixels, so nothing would be made anew: make it larger",
    );
}

/// A mask may have another size than its picture, but no other shape.
#[test]
fn masks_of_another_shape_are_refused() {
    let (_folder, pipeline) = pipeline(false);
    let planned = |mask_size: [u32; 2], only_masked_padding| {
        let mask = input(&mask(mask_size, [0, 0]));
        let inpaint = Some(Inpaint { only_masked_padding, ..Inpaint::new(Some(mask)) });
        pipeline.plan(request(Init { inpaint, ..Init::new(picture([32, 24]).into()) })).map(drop)
    };
    for same in [[32, 24], [64, 48], [16, 12], [11, 8], [640, 480], [641, 480], [4, 3]] {
        planned(same, None).unwrap();
        planned(same, Some(4)).unwrap();
    }
    for other in [[24, 32], [50, 32], [32, 32], [640, 520], [24, 24]] {
        for padding in [None, Some(4)] {
            let error = planned(other, padding).unwrap_err();
            let [width, height] = other;
            let message = format!(
                "the mask has {width} x {height} pixels and the picture 32 x 24, which is another shape: give a mask of the picture's"
            );
            assert!(error.is_request());
            assert_eq!(error.to_string(), message);
        }
    }
}

/// A1111's `create_binary_mask`: without transparent parts the grey value counts, with them what is opaque by more than half.
#[test]
fn coloured_masks_are_read_as_a1111_does() {
    let (_folder, pipeline) = pipeline(false);
    let image = |mask: RgbaImage| {
        let inpaint = Some(Inpaint { mask_blur: 0.0, ..Inpaint::new(Some(mask.into())) });
        made(&pipeline, &request(Init { inpaint, ..Init::new(picture([32, 24]).into()) })).pixels
    };
    let of = |left: [u8; 4], right: [u8; 4]| {
        let pixels = (0..32 * 24).flat_map(|n| if n % 32 < 16 { left } else { right }).collect();
        RgbaImage::new(32, 24, pixels).unwrap()
    };
    let black = [0, 0, 0, 255];
    let right = image(of(black, [255; 4]));
    // The grey value 150 is masked, and seen whole as 300.
    assert_eq!(image(of(black, [0, 255, 0, 255])), right);
    // Alpha 129 counts, 128 does not; the colours under it don't.
    assert_eq!(image(of([255, 255, 255, 128], [0, 0, 0, 129])), right);
    let original = picture([32, 24]);
    for (x, y) in [(0, 0), (15, 23)] {
        assert_eq!(right.pixel(x, y), original.pixel(x, y));
    }
}
