//! A picture in tiles, each seen with what is around it, of which the result is cut off again: so tiles meet without a seam where the
//! network sees no further than that.

use calotype_image::{DeepImage, Samples};
use calotype_tensor::CancelToken;

use super::{UpscaleOptions, network::Network};
use crate::Result;

/// How far around a tile is seen where networks see further than that.
const CONTEXT: usize = 64;
/// Longest sides of tiles that are tried, the largest first.
const SIDES: [usize; 12] = [2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 96, 64, 32];

/// How a picture is divided.
pub(super) struct Plan {
    /// What is done with the channels, one after the other.
    jobs: Vec<Job>,
    /// First and last pixel but one of each column and row of tiles.
    columns: Vec<[u32; 2]>,
    rows: Vec<[u32; 2]>,
    context: u32,
    /// Bytes of tensors that a tile takes.
    pub(super) arena: u64,
}

/// Channels of the picture that the network sees as its own, and what becomes of its result.
#[derive(Debug, PartialEq)]
enum Job {
    /// Each channel that it sees, where there is none opaque; the first so many are the result's.
    Channels(Vec<Option<usize>>),
    /// One channel as three, whose luma is the result.
    Grey(usize),
    /// Nothing is seen: the channel is full everywhere.
    Full(usize),
}

impl Plan {
    /// For tiles of which each takes `arena` bytes at most.
    ///
    /// # Errors
    /// The network can't be run on any size.
    pub(super) fn new(
        network: &dyn Network,
        picture: &DeepImage,
        options: &UpscaleOptions,
        arena: u64,
    ) -> Result<Self> {
        let config = network.config();
        let multiple = config.multiple();
        let context = options.overlap.map_or_else(|| config.reach().min(CONTEXT), |overlap| overlap as usize);
        let context = context.next_multiple_of(multiple);
        let [width, height] = [picture.width() as usize, picture.height() as usize];
        // Pixels that the network sees at a time.
        let seen = |tile: usize| {
            [height, width].map(|side| {
                let own = core(side, tile, multiple);
                if own >= side { side } else { side.min(own + 2 * context) }
            })
        };
        let tile = match options.tile.map(|tile| tile as usize) {
            Some(0) => width.max(height),
            Some(tile) => tile,
            None => {
                let whole = width.max(height);
                let smaller = SIDES.into_iter().filter(|&side| side < whole);
                let mut fitting = 0;
                for side in std::iter::once(whole).chain(smaller) {
                    fitting = side;
                    // A picture that surely does not fit need not be planned.
                    let [h, w] = seen(side);
                    if (h * w * 4) as u64 <= arena && network.arena([h, w])? <= arena {
                        break;
                    }
                }
                fitting
            }
        };
        let divide = |side: usize| -> Vec<[u32; 2]> {
            let own = core(side, tile, multiple);
            (0..side).step_by(own).map(|start| [start as u32, side.min(start + own) as u32]).collect()
        };
        Ok(Self {
            jobs: jobs(picture, config.colours()),
            columns: divide(width),
            rows: divide(height),
            context: context as u32,
            arena: network.arena(seen(tile))?,
        })
    }

    /// Enlarges `picture` to `large`, which is as much larger as the network makes it.
    ///
    /// # Errors
    /// A tile fails.
    pub(super) fn run(
        &self,
        network: &dyn Network,
        picture: &DeepImage,
        large: &mut DeepImage,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let total =
            self.jobs.iter().filter(|job| !matches!(job, Job::Full(_))).count() * self.columns.len() * self.rows.len();
        let mut done = 0;
        for job in &self.jobs {
            if let Job::Full(channel) = job {
                let row = vec![1.0; large.width() as usize];
                (0..large.height()).for_each(|y| large.put_unit(*channel, [0, y], large.width(), &row));
                continue;
            }
            for &[top, bottom] in &self.rows {
                for &[left, right] in &self.columns {
                    progress(done, total);
                    self.tile(network, picture, large, job, [left, top, right, bottom], cancel)?;
                    done += 1;
                }
            }
        }
        progress(done, total);
        Ok(())
    }

    fn tile(
        &self,
        network: &dyn Network,
        picture: &DeepImage,
        large: &mut DeepImage,
        job: &Job,
        [left, top, right, bottom]: [u32; 4],
        cancel: &CancelToken,
    ) -> Result<()> {
        let scale = network.config().scale() as u32;
        let [from_x, from_y] = [left, top].map(|start| start.saturating_sub(self.context));
        let to_x = right.saturating_add(self.context).min(picture.width());
        let to_y = bottom.saturating_add(self.context).min(picture.height());
        let (width, height) = (to_x - from_x, to_y - from_y);
        let part = [from_x, from_y, width, height];
        let planes: Vec<Vec<f32>> = match job {
            Job::Channels(channels) => {
                let plane = |channel: &Option<usize>| match channel {
                    Some(channel) => picture.unit_part(*channel, part),
                    None => vec![1.0; width as usize * height as usize],
                };
                channels.iter().map(plane).collect()
            }
            Job::Grey(channel) => vec![picture.unit_part(*channel, part); 3],
            Job::Full(_) => return Ok(()),
        };
        let colours = planes.len();
        let mut pixels = vec![0.0; planes.iter().map(Vec::len).sum()];
        for (n, plane) in planes.iter().enumerate() {
            pixels.iter_mut().skip(n).step_by(colours).zip(plane).for_each(|(pixel, x)| *pixel = *x);
        }
        let result = network.run(pixels, [height as usize, width as usize], cancel)?;
        // What is the tile's own.
        let [x, y, own_width, own_height] =
            [left - from_x, top - from_y, right - left, bottom - top].map(|n| (n * scale) as usize);
        let row = (width * scale) as usize * colours;
        let own = result.chunks_exact(row.max(1)).skip(y).take(own_height);
        let own: Vec<f32> = own.flat_map(|row| &row[x * colours..(x + own_width) * colours]).copied().collect();
        let place = [left * scale, top * scale];
        let mut put = |channel: usize, values: &[f32]| large.put_unit(channel, place, own_width as u32, values);
        match job {
            Job::Channels(channels) => {
                for (n, channel) in channels.iter().enumerate() {
                    if let Some(channel) = channel {
                        put(*channel, &own.iter().skip(n).step_by(colours).copied().collect::<Vec<_>>());
                    }
                }
            }
            Job::Grey(channel) => put(*channel, &DeepImage::luma(&own)),
            Job::Full(_) => {}
        }
        Ok(())
    }
}

/// The side of equal tiles of at most `tile`, rounded up to a multiple, in one of `side`.
fn core(side: usize, tile: usize, multiple: usize) -> usize {
    let tile = tile.clamp(1, side).next_multiple_of(multiple);
    side.div_ceil(side.div_ceil(tile)).next_multiple_of(multiple)
}

/// What is done with the channels of a picture for a network of so many.
fn jobs(picture: &DeepImage, seen: usize) -> Vec<Job> {
    let (colours, channels) = (picture.colours(), picture.channels());
    let alpha = picture.has_alpha().then(|| channels - 1);
    let apart = |channel: usize| match seen {
        1 => Job::Channels(vec![Some(channel)]),
        3 => Job::Grey(channel),
        _ => Job::Channels(vec![Some(channel), None, None, None]),
    };
    if let (4, Some(alpha)) = (seen, alpha) {
        let grey = |n: usize| Some(if colours == 3 { n } else { 0 });
        return vec![Job::Channels(vec![grey(0), grey(1), grey(2), Some(alpha)])];
    }
    let mut jobs = match (seen, colours) {
        (3, 3) => vec![Job::Channels(vec![Some(0), Some(1), Some(2)])],
        (4, 3) => vec![Job::Channels(vec![Some(0), Some(1), Some(2), None])],
        (4, _) => vec![Job::Channels(vec![Some(0), Some(0), Some(0), None])],
        (_, colours) => (0..colours).map(apart).collect(),
    };
    jobs.extend(alpha.map(|alpha| if is_full(picture, alpha) { Job::Full(alpha) } else { apart(alpha) }));
    jobs
}

/// Whether a channel has its greatest value everywhere.
fn is_full(picture: &DeepImage, channel: usize) -> bool {
    let channels = picture.channels();
    match picture.samples() {
        Samples::Bytes(data) => data.iter().skip(channel).step_by(channels).all(|&x| x == u8::MAX),
        Samples::Words(data) => data.iter().skip(channel).step_by(channels).all(|&x| x == u16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_equal_and_cover_the_picture() {
        for (side, tile, multiple, expected) in
            [(100, 200, 1, 100), (100, 40, 1, 34), (100, 1, 1, 1), (7, 3, 1, 3), (99, 40, 4, 36), (5, 200, 4, 8)]
        {
            assert_eq!(core(side, tile, multiple), expected, "{side} {tile} {multiple}");
        }
    }

    #[test]
    fn every_channel_has_a_job() {
        let picture =
            |channels: usize, value: u8| DeepImage::new(1, 1, channels, Samples::Bytes(vec![value; channels])).unwrap();
        let rgb = || Job::Channels(vec![Some(0), Some(1), Some(2)]);
        assert_eq!(jobs(&picture(3, 9), 3), [rgb()]);
        assert_eq!(jobs(&picture(4, 9), 3), [rgb(), Job::Grey(3)]);
        assert_eq!(jobs(&picture(4, 255), 3), [rgb(), Job::Full(3)]);
        assert_eq!(jobs(&picture(1, 9), 3), [Job::Grey(0)]);
        assert_eq!(jobs(&picture(2, 9), 3), [Job::Grey(0), Job::Grey(1)]);
        assert_eq!(jobs(&picture(2, 9), 1), [0, 1].map(|n| Job::Channels(vec![Some(n)])));
        assert_eq!(jobs(&picture(4, 9), 4), [Job::Channels(vec![Some(0), Some(1), Some(2), Some(3)])]);
        assert_eq!(jobs(&picture(3, 9), 4), [Job::Channels(vec![Some(0), Some(1), Some(2), None])]);
    }
}
