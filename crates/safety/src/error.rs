/// What can go wrong. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture that is too small for a mark.
    #[error(
        "the picture of {width} x {height} is too small for this watermark, which takes {pixels} pixels; make a larger one"
    )]
    SmallPicture {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The fewest pixels.
        pixels: u64,
    },
    /// A text that a mark can't hold.
    #[error("a watermark's text must have 1 to {limit} bytes, not {bytes}")]
    Payload {
        /// Bytes of the text.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// A picture can't be read, made or written.
    #[error(transparent)]
    Image(#[from] calotype_image::Error),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
