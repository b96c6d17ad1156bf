//! The shape of VGG16, for files that stand for it.

/// VGG16's convolutions, by their places in torchvision's `features`, with inputs and outputs.
pub(crate) const VGG: [[usize; 3]; 13] = [
    [0, 3, 64],
    [2, 64, 64],
    [5, 64, 128],
    [7, 128, 128],
    [10, 128, 256],
    [12, 256, 256],
    [14, 256, 256],
    [17, 256, 512],
    [19, 512, 512],
    [21, 512, 512],
    [24, 512, 512],
    [26, 512, 512],
    [28, 512, 512],
];
