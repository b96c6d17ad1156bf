//! Where the images of a request stand in a run of several batches.

/// Which batch of a run is made. [`Request::seed`](crate::Request::seed) is that of the run's first image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchPlace {
    /// How many batches came before it, each of the size of this one.
    pub index: usize,
    /// The image is one of a larger batch, of which the others are not made.
    pub one_of: Option<OneOf>,
}

/// A place in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneOf {
    /// Images in the batch.
    pub batch_size: usize,
    /// Which one, from 0.
    pub position: usize,
}
