//! The noise of pictures against A1111's webui, k-diffusion and torchsde (`goldens/image_noise.txt`, written by
//! `reference/noise.py`), and against numbers that a GPU printed.

mod common;

use calotype_diffusion::{Batch, BatchNoise, NoiseOptions, NoiseSource, Rng, SeedPer, Variation};
use common::{bits, fnv1a, lines, parse_bits};

const GOLDENS: &str = include_str!("goldens/image_noise.txt");

#[test]
fn nv_equals_a1111() {
    let mut cases = 0;
    let mut stream = (u64::MAX, Rng::Nv.stream(0));
    for fields in lines(GOLDENS, "nv") {
        let (seed, n): (u64, usize) = (fields[1].parse().expect("a seed"), fields[2].parse().expect("a count"));
        if seed != stream.0 {
            stream = (seed, Rng::Nv.stream(seed));
        }
        let noise = stream.1.randn(n);
        assert_eq!(bits(&noise[..n.min(12)]), fields[4], "seed {seed} n {n}");
        assert_eq!(fnv1a(&noise), fields[3], "seed {seed} n {n}");
        cases += 1;
    }
    assert_eq!(cases, 16);
}

/// `torch.manual_seed(0); torch.randn(8, 8, device="cuda")` as a GPU printed it (torch 2.2), to four decimals.
const GPU: [f32; 64] = [
    -0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284, //
    -1.0745, -0.3631, -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820, //
    -0.1271, 1.2169, 1.4353, 1.0605, -0.4941, -1.4244, -0.7244, -1.2973, //
    0.0697, -0.0074, 1.8969, 0.6878, -0.0779, -0.8373, 1.3506, -0.2879, //
    -0.5965, -0.3283, -0.9086, -0.8059, -0.7407, -0.0504, 0.5435, 1.5150, //
    0.0141, 0.4532, 1.6349, 0.7124, -0.1806, 1.0252, -1.4622, -0.7554, //
    -0.1836, 0.3824, 0.3918, -0.0830, 0.8971, -1.1123, 0.1116, 0.4863, //
    -0.5499, -0.3231, -0.5469, 0.9049, 0.2837, 0.1210, 0.4730, -1.0823,
];

#[test]
fn cuda_equals_a_gpu() {
    let noise = Rng::Cuda.stream(0).randn(64);
    for (noise, gpu) in noise.iter().zip(GPU) {
        assert!((noise - gpu).abs() <= 0.5001e-4, "{noise} against {gpu}");
    }
}

/// Below the size from which threads take several numbers, CUDA's noise is NV's but for f32 rounding, call after call.
#[test]
fn cuda_is_nv_in_f32() {
    for seed in [0, 77, u64::MAX - 3] {
        let (mut cuda, mut nv) = (Rng::Cuda.stream(seed), Rng::Nv.stream(seed));
        for n in [16384, 3, 221_184, 65536] {
            // Where the radius is nearly 0, f32 leaves it few digits.
            let far = cuda.randn(n).iter().zip(nv.randn(n)).filter(|&(a, b)| (a - b).abs() > 2e-6).count();
            assert!(far * 1000 <= n, "seed {seed}: {far} of {n}");
        }
    }
}

/// Past that size, the threads go round: each takes the four numbers of a block, then the next block.
#[test]
fn cuda_threads_take_several_numbers() {
    const THREADS: usize = 221_184;
    let mut stream = Rng::Cuda.stream(5);
    let long = stream.randn(5 * THREADS);
    let first = Rng::Cuda.stream(5).randn(THREADS);
    assert_eq!(long[..THREADS], first);
    let mut later = Rng::Cuda.stream(5);
    later.skip(1);
    assert_eq!(long[4 * THREADS..], later.randn(THREADS), "the second block of every thread");
    // The two numbers of a pair are the sine's and the cosine's: their squares add up to the radius', of mean 2.
    let mean = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    for turn in 1..4 {
        let lane = &long[turn * THREADS..(turn + 1) * THREADS];
        assert!((mean(lane) - 1.0).abs() < 0.01, "lane {turn}");
        let product: f64 = lane.iter().zip(&first).map(|(&a, &b)| f64::from(a * b)).sum();
        assert!((product / THREADS as f64).abs() < 0.01, "lane {turn} repeats the first");
    }
    // Two blocks of each subsequence are used.
    later.skip(1);
    assert_eq!(stream.randn(100)[..], {
        let mut third = Rng::Cuda.stream(5);
        third.skip(5 * THREADS);
        third.randn(100)[..].to_vec()
    });
}

#[test]
fn skipping_is_drawing() {
    for rng in Rng::ALL {
        for sizes in [vec![16, 5, 17], vec![1, 1, 700], vec![15, 16384], vec![3, 4099, 2]] {
            let (mut drawn, mut skipped) = (rng.stream(9), rng.stream(9));
            for n in sizes {
                let _ = drawn.randn(n);
                skipped.skip(n);
                assert_eq!(drawn, skipped, "{rng} {n}");
            }
            assert_eq!(drawn.randn(33), skipped.randn(33), "{rng}");
        }
    }
}

fn number<T: std::str::FromStr>(field: &str) -> T {
    field.parse().unwrap_or_else(|_| panic!("bad number {field}"))
}

#[test]
fn image_noise_equals_a1111() {
    let mut cases = 0;
    for fields in lines(GOLDENS, "image") {
        let [_, rng, seed, size, subseed, strength, from_h, from_w, delta, h, w, start, step] = fields[..] else {
            panic!("bad golden line: {fields:?}")
        };
        let (h, w): (usize, usize) = (number(h), number(w));
        let [from_h, from_w] = [from_h, from_w].map(|pixels| number::<usize>(pixels) / 8);
        let options = NoiseOptions {
            rng: number(rng),
            variation: (subseed != "-").then(|| Variation { seed: number(subseed), strength: number(strength) }),
            seed_resize: (from_h > 0).then_some([from_h, from_w]),
            eta_noise_seed_delta: number(delta),
            ..NoiseOptions::new(number(seed))
        };
        let batch = Batch::only(number(size));
        let mut noise = BatchNoise::with_options(&options, batch, [h, w, 4]).expect("valid");
        let mut next = || {
            let drawn = noise.noise();
            assert_eq!(drawn.shape(), [batch.size, h, w, 4]);
            drawn.to_nchw()
        };
        let (got_start, got_step) = (next(), next());
        if options.variation.is_none() {
            assert_eq!(bits(&got_start), start, "{fields:?}");
        } else {
            let expected = parse_bits(start);
            assert_eq!(got_start.len(), expected.len());
            let far = got_start.iter().zip(expected).find(|(a, b)| (*a - b).abs() > 2e-6);
            assert_eq!(far, None, "{fields:?}");
        }
        assert_eq!(bits(&got_step), step, "{fields:?}");
        cases += 1;
    }
    assert_eq!(cases, 11);
}

#[test]
fn brownian_noise_equals_torchsde() {
    let mut cases = 0;
    for fields in lines(GOLDENS, "brownian") {
        let [_, rng, seed, size, low, high, from, to, hash, first] = fields[..] else {
            panic!("bad golden line: {fields:?}")
        };
        let options = NoiseOptions { rng: number(rng), ..NoiseOptions::new(number(seed)) };
        let batch = Batch::only(number(size));
        let noise = BatchNoise::with_options(&options, batch, [5, 4, 4]).expect("valid");
        let mut noise = noise.brownian(number(low), number(high));
        let got = noise.noise_between(number(from), number(to));
        assert_eq!(got.shape(), [batch.size, 5, 4, 4]);
        let got = got.to_nchw();
        assert_eq!(bits(&got[..4]), first, "{fields:?}");
        assert_eq!(fnv1a(&got), hash, "{fields:?}");
        cases += 1;
    }
    assert_eq!(cases, 84);
}

/// A path is one path: its parts add up, whatever was asked for before.
#[test]
fn brownian_increments_add_up() {
    let mut noise = BatchNoise::new(3, 2, [3, 3, 4]).brownian(0.03, 14.6);
    let mut increment = |a: f64, b: f64| -> Vec<f32> {
        let root = ((b as f32) - (a as f32)).abs().sqrt();
        noise.noise_between(a, b).data().iter().map(|w| w * root).collect()
    };
    let whole = increment(14.6, 0.03);
    let parts = [14.6, 9.0, 8.99, 2.0, 0.5, 0.03].windows(2).map(|pair| increment(pair[0], pair[1]));
    let parts: Vec<Vec<f32>> = parts.collect();
    for (i, whole) in whole.iter().enumerate() {
        let sum: f32 = parts.iter().map(|part| part[i]).sum();
        assert!((sum - whole).abs() < 1e-4, "{sum} {whole}");
    }
    assert!(noise.noise_between(2.0, 2.0).data().iter().all(|&w| w == 0.0), "no way, no noise");
    assert!(noise.noise_between(f64::NAN, f64::INFINITY).shape() == [2, 3, 3, 4], "nonsense does not panic");
}

/// A picture has the same noise alone and in any batch; one seed per batch goes on from batch to batch.
#[test]
fn batches() {
    let shape = [3, 5, 4];
    let options = NoiseOptions::new(10);
    let noise = |options: &NoiseOptions, batch| BatchNoise::with_options(options, batch, shape).expect("valid");
    let varied = NoiseOptions { variation: Some(Variation { seed: 3, strength: 0.4 }), ..options.clone() };
    let delta = NoiseOptions { eta_noise_seed_delta: -4, seed_resize: Some([9, 9]), ..varied.clone() };
    for options in [&options, &varied, &delta] {
        let mut all = noise(options, Batch::only(6)).brownian(0.1, 5.0);
        let mut second = noise(options, Batch { size: 3, index: 1, draws: 7, ..Batch::default() }).brownian(0.1, 5.0);
        for _ in 0..3 {
            assert_eq!(all.noise().slice(3, 3), Some(second.noise()));
        }
        assert_eq!(all.noise_between(2.0, 1.0).slice(3, 3), Some(second.noise_between(2.0, 1.0)));
    }

    let one = NoiseOptions { seed_per: SeedPer::Batch, ..options.clone() };
    let mut first = noise(&one, Batch::only(2));
    let drawn: Vec<_> = (0..10).map(|_| first.noise()).collect();
    let mut third = noise(&one, Batch { size: 2, index: 2, draws: 3, ..Batch::default() });
    assert_eq!([third.noise(), third.noise()], [drawn[8].clone(), drawn[9].clone()]);
    let fixed = NoiseOptions { fixed_code: true, ..one.clone() };
    let mut third = noise(&fixed, Batch { size: 2, index: 2, draws: 3, ..Batch::default() });
    assert_eq!([third.noise(), third.noise()], [drawn[0].clone(), drawn[7].clone()]);

    let fixed = NoiseOptions { fixed_code: true, ..options };
    let (mut first, mut second) =
        (noise(&fixed, Batch::only(2)), noise(&fixed, Batch { size: 2, index: 1, ..Batch::default() }));
    assert_eq!(first.noise(), second.noise(), "one start for all batches");
    assert_ne!(first.noise(), second.noise(), "steps have the noise of their pictures");
    let mut without = noise(&fixed, Batch { size: 2, index: 1, start_given: true, ..Batch::default() });
    let mut plain = noise(&NoiseOptions::new(12), Batch::only(2));
    assert_eq!(without.noise(), plain.noise(), "what starts from elsewhere draws no start");

    // One stream: of a run that starts from a picture the first draw is the picture's, for all batches.
    let (mut third, draws) = (Batch { size: 2, index: 2, draws: 3, ..Batch::default() }, &drawn);
    third.has_picture = true;
    let mut of_picture = noise(&one, third);
    assert_eq!([of_picture.for_picture(), of_picture.noise()], [draws[0].clone(), draws[9].clone()]);
    third.start_given = true;
    let mut given = noise(&one, third);
    assert_eq!([given.for_picture(), given.noise()], [draws[0].clone(), draws[7].clone()]);
    third.has_picture = false;
    let mut given = noise(&one, third);
    assert_eq!([given.noise(), given.for_picture()], [draws[6].clone(), draws[7].clone()]);
}

#[test]
fn options_are_checked() {
    let message = |options: NoiseOptions| {
        BatchNoise::with_options(&options, Batch::only(1), [8, 8, 4]).expect_err("refused").to_string()
    };
    let options = NoiseOptions::new(0);
    let variation = Some(Variation { seed: 1, strength: 0.5 });
    for strength in [-0.1, 1.5, f32::NAN] {
        let variation = Some(Variation { seed: 1, strength });
        assert!(message(NoiseOptions { variation, ..options.clone() }).contains("from 0 to 1"));
    }
    assert!(message(NoiseOptions { seed_resize: Some([0, 8]), ..options.clone() }).contains("at least 8 x 8"));
    let batch = NoiseOptions { seed_per: SeedPer::Batch, ..options };
    assert!(message(NoiseOptions { variation, ..batch.clone() }).contains("has no variation seed"));
    assert!(message(NoiseOptions { seed_resize: Some([8, 8]), ..batch.clone() }).contains("has no seed resize"));
    assert!(message(NoiseOptions { eta_noise_seed_delta: 1, ..batch }).contains("has no eta noise seed delta"));
    assert_eq!("GPU".parse::<Rng>(), Ok(Rng::Cuda), "A1111's name of it");
    assert_eq!(
        "tpu".parse::<Rng>().expect_err("unknown").to_string(),
        r#"unknown generator "tpu": use one of cpu, cuda, nv"#
    );
    assert_eq!(
        "day".parse::<SeedPer>().expect_err("unknown").to_string(),
        r#"unknown seed_per "day": use one of picture, batch"#
    );
    for rng in Rng::ALL {
        assert_eq!(rng.to_string().parse(), Ok(rng));
    }
    for per in SeedPer::ALL {
        assert_eq!(per.to_string().parse(), Ok(per));
    }
}
