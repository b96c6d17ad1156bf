//! The sizes of images that a model can make.

use calotype_checkpoint::MAX_SIDE;

use crate::{Error, Result};

/// Checks a side of an image, called `name` in the message: `who` needs a multiple of `multiple` pixels.
///
/// # Errors
/// It is none, or too large.
pub fn check_side(name: &'static str, side: usize, multiple: usize, who: &str) -> Result<()> {
    let most = MAX_SIDE / multiple * multiple;
    if side > most {
        let message = format!("{name} {side} is too large: give at most {most}");
        return Err(Error::OutOfRange { field: name, message });
    }
    if side > 0 && side.is_multiple_of(multiple) {
        return Ok(());
    }
    let nearest = match side / multiple * multiple {
        0 => multiple.to_string(),
        below => format!("{below} or {}", below + multiple),
    };
    let message = format!("{name} {side} is not a multiple of {multiple}, which {who} needs: give {nearest}");
    Err(Error::OutOfRange { field: name, message })
}
