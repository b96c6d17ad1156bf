//! The same bits each time, and whatever the batch.

use calotype_gpu::Gpu;
use calotype_tensor::{
    Activation, Backend, ParamKind, Result, Shape,
    cases::{self, Case, Role},
};

use crate::{setup::backends, wide};

fn bits(gpu: &Gpu, case: &Case, inputs: &[Vec<f32>]) -> Result<Vec<u32>> {
    let y = case.forward(gpu, &case.upload(gpu, inputs)?)?;
    Ok(gpu.to_f32(&y)?.into_iter().map(f32::to_bits).collect())
}

#[test]
fn two_runs_give_the_same_bits() -> Result<()> {
    for (name, _, gpu) in backends() {
        for case in cases::table().into_iter().chain(wide::cases()) {
            let inputs = case.inputs(1);
            assert_eq!(bits(&gpu, &case, &inputs)?, bits(&gpu, &case, &inputs)?, "{name}: {case}");
        }
    }
    Ok(())
}

/// Three maps of one input are what each is alone.
#[test]
fn three_maps_in_one_change_no_bit() -> Result<()> {
    for (name, _, gpu) in backends() {
        for [batch, rows, inputs, columns] in [[2, 70, 72, 68], [1, 3, 4, 4], [2, 5, 6, 7]] {
            let numbers = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|n| ((n * 37 + seed) % 101) as f32 / 101.0 - 0.5).collect()
            };
            let x = gpu.from_f32([batch, rows, inputs].into(), numbers(batch * rows * inputs, 1))?;
            let weight =
                |seed| gpu.param("w", ParamKind::Linear, [columns, inputs].into(), &numbers(columns * inputs, seed));
            let weights = [weight(2)?, weight(3)?, weight(4)?];
            let three = gpu.linear_three(&x, [&weights[0], &weights[1], &weights[2]])?;
            for (together, weight) in three.iter().zip(&weights) {
                let alone = gpu.linear(&x, weight, None, None, Activation::None)?;
                assert_eq!(gpu.to_f32(together)?, gpu.to_f32(&alone)?, "{name}: {rows} rows");
            }
        }
    }
    Ok(())
}

/// The case with its tensors after others of the same shapes in a batch, if its tensors have a batch.
fn batched(case: &Case, inputs: &[Vec<f32>], others: &[Vec<f32>]) -> Option<(Case, Vec<Vec<f32>>)> {
    use calotype_tensor::Op;
    if matches!(case.op, Op::Mean | Op::Reshape(_) | Op::Embedding { .. }) {
        return None;
    }
    let (mut case, mut inputs) = (case.clone(), inputs.to_vec());
    for ((input, data), other) in case.inputs.iter_mut().zip(&mut inputs).zip(others) {
        if input.role == Role::Tensor {
            if input.shape.len() < 2 {
                return None;
            }
            let mut shape = input.shape.to_vec();
            shape[0] *= 2;
            input.shape = Shape::new(&shape).ok()?;
            let mut both = other.clone();
            both.append(data);
            *data = both;
        }
    }
    Some((case, inputs))
}

#[test]
fn the_batch_changes_no_bit() -> Result<()> {
    let mut compared = usize::MAX;
    for (name, _, gpu) in backends() {
        let mut of_this = 0;
        for case in cases::table().into_iter().chain(wide::cases()) {
            let inputs = case.inputs(1);
            let Some((twice, both)) = batched(&case, &inputs, &case.inputs(2)) else { continue };
            let alone = bits(&gpu, &case, &inputs)?;
            assert_eq!(bits(&gpu, &twice, &both)?[alone.len()..], alone, "{name}: {case}");
            of_this += 1;
        }
        compared = compared.min(of_this);
    }
    assert!(compared > 80, "{compared} cases");
    Ok(())
}
