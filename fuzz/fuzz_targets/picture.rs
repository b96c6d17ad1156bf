#![no_main]
use calotype_image::{Limits, decode, read_png_text, read_user_comment};

const LIMITS: Limits = Limits { max_pixels: 1 << 16, max_bytes: 1 << 20 };

// A picture: its pixels, its EXIF orientation and comment, its texts.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match decode(bytes, &LIMITS) {
        Ok(picture) => assert_eq!(picture.data().len(), picture.width() as usize * picture.height() as usize * 3),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
    let _ = (read_png_text(bytes), read_user_comment(bytes));
});
