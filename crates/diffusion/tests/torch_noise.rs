//! The generator and the noise schedule against torch, bit for bit (`goldens/noise.txt`, written by `reference/samplers.py`).

mod common;

use calotype_diffusion::{Generator, NoiseSchedule};
use common::{bits, fnv1a, lines};

const GOLDENS: &str = include_str!("goldens/noise.txt");

#[test]
fn noise_schedules_equal_torch() {
    let mut cases = 0;
    for fields in lines(GOLDENS, "alphas_cumprod") {
        let schedule = match fields[1] {
            "linear" => NoiseSchedule::linear(0.00085, 0.012, 1000),
            _ => NoiseSchedule::scaled_linear(0.00085, 0.012, 1000),
        };
        let schedule = schedule.expect("valid");
        let some: Vec<f32> = schedule.alphas_cumprod().iter().step_by(200).copied().collect();
        assert_eq!(bits(&some), fields[4], "{}", fields[1]);
        assert_eq!(fnv1a(schedule.alphas_cumprod()), fields[3], "{}", fields[1]);
        cases += 1;
    }
    assert_eq!(cases, 2);
}

#[test]
fn randn_equals_torch() {
    let mut cases = 0;
    for fields in lines(GOLDENS, "randn") {
        let n = fields[2].parse().expect("a count");
        let noise = Generator::manual_seed(fields[1].parse().expect("a seed")).randn(n);
        assert_eq!(bits(&noise[..n.min(18)]), fields[4], "seed {} n {n}", fields[1]);
        assert_eq!(fnv1a(&noise), fields[3], "seed {} n {n}", fields[1]);
        cases += 1;
    }
    assert_eq!(cases, 36);
}

/// One stream through calls of every kind, stored and restored before each of them.
#[test]
fn stream_equals_torch() {
    let mut generator = Generator::manual_seed(99);
    let mut cases = 0;
    for fields in lines(GOLDENS, "stream") {
        generator = Generator::from_bytes(&generator.to_bytes()).expect("our own state");
        let number = |i: usize| fields[i].parse::<usize>().expect("a count");
        let joined = |values: Vec<String>| values.join(",");
        let got = match fields[1] {
            "randn" => bits(&generator.randn(number(2))),
            "rand" => bits(&generator.rand(number(2))),
            "randint" => joined(generator.randint(number(2) as u64, number(3)).iter().map(u64::to_string).collect()),
            "randperm" => joined(generator.randperm(number(2)).iter().map(usize::to_string).collect()),
            other => panic!("unknown call {other}"),
        };
        assert_eq!(Some(&got.as_str()), fields.last(), "{fields:?}");
        cases += 1;
    }
    assert_eq!(cases, 12);
}
