use super::seed_sequence::first_word;
use crate::Rng;

/// Brownian motion between two sigmas, the same whatever is asked for and in which order: torchsde's `BrownianTree`
/// behind k-diffusion's `BrownianTreeNoiseSampler`, bit for bit in f32 (but for the final root, which torch takes by MKL, now
/// and then one place off in the last digit).
///
/// The interval is halved again and again. The value in the middle of a piece, given those at its ends, is a Brownian
/// bridge, whose noise has a seed of its own, made from the place in the tree. So nothing needs to be remembered: an
/// increment is computed from the top of the tree, with one tensor a level.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BrownianTree {
    rng: Rng,
    seed: u64,
    numel: usize,
    /// The ends as given, in f32 as k-diffusion keeps sigmas.
    ends: [f32; 2],
    /// The motion from end to end, once it is needed.
    whole: Option<Vec<f32>>,
}

/// A piece of the tree.
#[derive(Debug, Clone, Copy)]
struct Node {
    start: f64,
    end: f64,
    /// Its place among those of its depth, and the depth.
    key: u64,
    depth: u64,
}

impl BrownianTree {
    pub(super) fn new(rng: Rng, seed: u64, numel: usize, [sigma_min, sigma_max]: [f64; 2]) -> Self {
        let (a, b) = (sigma_min as f32, sigma_max as f32);
        Self { rng, seed, numel, ends: [a.min(b), a.max(b)], whole: None }
    }

    /// Unit-variance noise for the way from one sigma to the other: the increment of the motion over its length's root.
    ///
    /// Sigmas outside the interval count as its ends, as in torchsde; for no way at all, where k-diffusion
    /// divides zero by zero, there is no noise.
    pub(super) fn noise(&mut self, sigma: f64, sigma_next: f64) -> Vec<f32> {
        let (from, to) = (sigma as f32, sigma_next as f32);
        let root = (to - from).abs().sqrt();
        let mut increment = self.increment(f64::from(from.min(to)), f64::from(from.max(to)));
        if root > 0.0 {
            let sign = if from < to { 1.0 } else { -1.0 };
            increment.iter_mut().for_each(|w| *w = *w * sign / root);
        }
        increment
    }

    /// The motion from `a` to `b`.
    fn increment(&mut self, a: f64, b: f64) -> Vec<f32> {
        let [start, end] = self.ends.map(|end| round(f64::from(end)));
        let [a, b] = [a, b].map(|t| round(t.max(start).min(end)));
        let mut sum = None;
        if a < b {
            let whole = self.whole().to_vec();
            self.add(Node { start, end, key: 0, depth: 0 }, whole, [a, b], &mut sum);
        }
        sum.unwrap_or_else(|| vec![0.0; self.numel])
    }

    /// Adds the motion `w` of a node, or the part of it from `a` to `b`, to `sum`, from left to right.
    fn add(&self, node: Node, mut w: Vec<f32>, [a, b]: [f64; 2], sum: &mut Option<Vec<f32>>) {
        if a <= node.start && node.end <= b {
            match sum {
                Some(sum) => sum.iter_mut().zip(w).for_each(|(sum, w)| *sum += w),
                None => *sum = Some(w),
            }
            return;
        }
        let middle = round(0.5 * (node.end + node.start));
        if middle <= node.start || node.end <= middle {
            return; // Can't be: both ends are whole multiples of the resolution, and so are a and b between them.
        }
        let seed = first_word(self.seed, &[node.key, node.depth]);
        let (left, right) = (middle - node.start, node.end - middle);
        let reciprocal = 1.0 / (node.end - node.start);
        let (share, deviation) = (left as f32, (left * right * reciprocal).sqrt() as f32);
        let mut w_left = self.rng.stream(u64::from(seed)).randn(self.numel);
        for (w_left, w) in w_left.iter_mut().zip(&w) {
            *w_left = share * w * reciprocal as f32 + deviation * *w_left;
        }
        for (w, w_left) in w.iter_mut().zip(&w_left) {
            *w -= w_left;
        }
        let depth = node.depth + 1;
        if a < middle {
            self.add(
                Node { end: middle, key: node.key.wrapping_mul(2), depth, ..node },
                w_left,
                [a, b.min(middle)],
                sum,
            );
        }
        if b > middle {
            self.add(
                Node { start: middle, key: node.key.wrapping_mul(2) | 1, depth, ..node },
                w,
                [a.max(middle), b],
                sum,
            );
        }
    }

    fn whole(&mut self) -> &[f32] {
        let [start, end] = self.ends.map(f64::from);
        let (rng, seed, numel) = (self.rng, self.seed, self.numel);
        self.whole.get_or_insert_with(|| {
            let mut w = rng.stream(u64::from(first_word(seed, &[]))).randn(numel);
            w.iter_mut().for_each(|w| *w *= (end - start).sqrt() as f32);
            w
        })
    }
}

/// To six decimals, half to even, as Python's `round(t, 6)`: the resolution of the tree.
fn round(t: f64) -> f64 {
    format!("{t:.6}").parse().unwrap_or(t)
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn rounds_as_python() {
        let cases = [(0.0078125, 0.007812), (0.0234375, 0.023438), (14.6146412, 14.614641), (0.5, 0.5), (2.5e-7, 0.0)];
        for (t, rounded) in cases {
            assert_eq!(round(t), rounded, "{t}");
        }
    }
}
