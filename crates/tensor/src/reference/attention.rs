//! Scaled-dot-product attention, one query at a time.

use super::array::Wide;
use crate::{Attention, Result, op_shapes};

/// One query of one head: where it and its keys lie, and how it weighs them.
struct Query {
    /// The row of `q` and of the result.
    row: usize,
    /// The row of `k` and `v` of the first key.
    first_key: usize,
    /// The first channel of the head.
    channel: usize,
    /// The width of the head.
    head_dim: usize,
    /// `1/√D`.
    scale: f64,
    /// `softmax(q·k / √D)` over the keys that the query sees (Vaswani et al. 2017, eq. 1).
    weights: Vec<f64>,
}

impl Query {
    /// The part of a row that belongs to the head.
    fn head<'a>(&self, x: &'a Wide, row: usize) -> &'a [f64] {
        &x.row(row)[self.channel..][..self.head_dim]
    }

    /// `into += factor · x`, on the head's part of a row.
    fn add(&self, into: &mut Wide, row: usize, factor: f64, x: &[f64]) {
        for (into, x) in into.row_mut(row)[self.channel..][..self.head_dim].iter_mut().zip(x) {
            *into += factor * x;
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &mut [f64]) {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
}

fn for_each_query(q: &Wide, k: &Wide, v: &Wide, options: Attention, mut f: impl FnMut(&Query)) -> Result<()> {
    let sizes = op_shapes::attention(q.shape(), k.shape(), v.shape(), &options)?;
    for b in 0..sizes.batch {
        for i in 0..sizes.queries {
            for head in 0..options.heads {
                let mut query = Query {
                    row: b * sizes.queries + i,
                    first_key: b * sizes.keys,
                    channel: head * sizes.head_dim,
                    head_dim: sizes.head_dim,
                    scale: 1.0 / (sizes.head_dim as f64).sqrt(),
                    weights: Vec::new(),
                };
                let visible = if options.causal { sizes.keys.min(i + 1) } else { sizes.keys };
                query.weights = (0..visible)
                    .map(|j| query.scale * dot(query.head(q, query.row), query.head(k, query.first_key + j)))
                    .collect();
                softmax(&mut query.weights);
                f(&query);
            }
        }
    }
    Ok(())
}

pub(super) fn attention(q: &Wide, k: &Wide, v: &Wide, options: Attention) -> Result<Wide> {
    let mut y = Wide::filled(q.shape(), 0.0);
    for_each_query(q, k, v, options, |query| {
        for (j, weight) in query.weights.iter().enumerate() {
            query.add(&mut y, query.row, *weight, query.head(v, query.first_key + j));
        }
    })?;
    Ok(y)
}

pub(super) fn backward(q: &Wide, k: &Wide, v: &Wide, dy: &Wide, options: Attention) -> Result<[Wide; 3]> {
    op_shapes::same("attention_backward", "dy", q.shape(), dy.shape())?;
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| Wide::filled(x.shape(), 0.0));
    for_each_query(q, k, v, options, |query| {
        let dy = query.head(dy, query.row);
        let dweights: Vec<f64> =
            (0..query.weights.len()).map(|j| dot(dy, query.head(v, query.first_key + j))).collect();
        // The softmax's derivative: ds = p · (dp - Σ p dp).
        let mean = dot(&query.weights, &dweights);
        for (j, (weight, dweight)) in query.weights.iter().zip(&dweights).enumerate() {
            let key = query.first_key + j;
            let dscore = weight * (dweight - mean) * query.scale;
            query.add(&mut dq, query.row, dscore, query.head(k, key));
            query.add(&mut dk, key, dscore, query.head(q, query.row));
            query.add(&mut dv, key, *weight, dy);
        }
    })?;
    Ok([dq, dk, dv])
}
