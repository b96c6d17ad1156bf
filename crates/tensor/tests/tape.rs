//! The tape over the reference backend in double precision.

#![allow(clippy::unwrap_used)]

#[path = "tape/network.rs"]
mod network;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use calotype_tensor::reference::{Array, Reference};
use calotype_tensor::tape::{Gradients, Parameter, Tape, Var};
use calotype_tensor::{Activation, Backend, Conv2d, Differentiable, Error, ParamKind, Result, to_file_layout};
use network::{LEAVES, PARAMETERS, network, numbers};

type Inner = Reference<f64>;
type Value = Var<Inner>;

const INNER: Inner = Reference::new();

fn tape() -> Tape<Inner> {
    Tape::new(INNER)
}

fn vector(data: &[f32]) -> Array<f64> {
    INNER.from_f32([data.len()].into(), data.to_vec()).unwrap()
}

fn parameter(t: &Tape<Inner>, name: &str, kind: ParamKind, shape: &[usize], seed: u64) -> Parameter<Inner> {
    let value = numbers(seed, shape);
    let (shape, data) = to_file_layout(kind, value.shape(), INNER.to_f32(&value).unwrap(), INNER.threads()).unwrap();
    t.param(name, kind, shape, &data).unwrap()
}

fn network_parameters(t: &Tape<Inner>) -> Vec<Parameter<Inner>> {
    let make = |(seed, (name, kind, shape)): (u64, _)| parameter(t, name, kind, shape, seed);
    (0..).zip(PARAMETERS).map(make).collect()
}

fn network_leaves(t: &Tape<Inner>) -> Vec<Value> {
    (100..).zip(LEAVES).map(|(seed, shape)| t.leaf(numbers(seed, shape))).collect()
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Err(error @ Error::Invalid { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn every_gradient_of_a_network_matches_finite_differences() {
    let t = tape();
    let (parameters, leaves) = (network_parameters(&t), network_leaves(&t));
    let loss = network(&t, &parameters, &leaves).unwrap();
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(gradients.iter().count(), PARAMETERS.len());
    assert_eq!(t.recorded(), 0);

    // The same forward without the tape, on values that can be moved.
    let mut values: Vec<Array<f64>> = parameters.iter().map(Parameter::value).collect();
    values.extend(leaves.iter().map(|leaf| leaf.value().clone()));
    let run = |values: &[Array<f64>]| {
        let (values, leaves) = values.split_at(PARAMETERS.len());
        let pack = |(value, (_, kind, _)): (_, (_, ParamKind, _))| INNER.pack(kind, value).unwrap();
        let packed: Vec<_> = values.iter().zip(PARAMETERS).map(pack).collect();
        network(&INNER, &packed, leaves).unwrap().data()[0]
    };
    let difference = (run(&values) - loss.value().data()[0]).abs();
    assert!(difference < 1e-12, "the tape computes another loss, by {difference}");

    let of_parameters = parameters.iter().map(|p| gradients.get(p).unwrap());
    let of_leaves = leaves.iter().map(|leaf| gradients.leaf(leaf).unwrap());
    for (i, gradient) in of_parameters.chain(of_leaves).enumerate() {
        let name = PARAMETERS.get(i).map_or("a leaf", |p| p.0);
        let value = values[i].clone();
        assert_eq!(gradient.shape(), value.shape(), "{name}");
        assert!(INNER.sum_squares(gradient).unwrap() > 1e-9, "the network does not depend on {name}");
        for (j, &expected) in gradient.data().iter().enumerate() {
            let mut at = |step: f64| {
                let mut data = value.data().to_vec();
                data[j] += step;
                values[i] = Array::new(value.shape(), data).unwrap();
                run(&values)
            };
            let got = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((got - expected).abs() < 1e-8 * (1.0 + got.abs()), "{name}[{j}]: {expected}, by differences {got}");
        }
        values[i] = value;
    }
}

#[test]
fn a_value_used_thrice_gets_the_sum_of_three_gradients() {
    let t = tape();
    let x = t.leaf(vector(&[0.5, -1.0, 2.0, 0.25]));
    let loss = t.mean(&t.add(&x, &t.mul(&x, &x).unwrap()).unwrap()).unwrap();
    let gradients = t.backward(&loss).unwrap();
    let expected: Vec<f64> = x.value().data().iter().map(|x| (1.0 + 2.0 * x) / 4.0).collect();
    assert_eq!(gradients.leaf(&x).unwrap().data(), expected);
    assert_eq!(x.value().data(), [0.5, -1.0, 2.0, 0.25]);
}

#[test]
fn a_gradient_that_two_nodes_share_is_not_changed_by_one_of_them() {
    let t = tape();
    let [x, y] = [t.leaf(vector(&[1.0, 2.0])), t.leaf(vector(&[3.0, 4.0]))];
    // The sum hands one tensor to both; x then gets more.
    let sum = t.add(&x, &y).unwrap();
    let loss = t.mean(&t.add(&t.scale(&x, 2.0).unwrap(), &sum).unwrap()).unwrap();
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(gradients.leaf(&x).unwrap().data(), [1.5, 1.5]);
    assert_eq!(gradients.leaf(&y).unwrap().data(), [0.5, 0.5]);
}

#[test]
fn a_parameter_used_twice_gets_both_gradients() {
    let t = tape();
    let weight = parameter(&t, "weight", ParamKind::Linear, &[3, 3], 1);
    let x = t.constant(numbers(2, &[2, 3]));
    let run = |w: &Parameter<Inner>, v: &Parameter<Inner>| {
        let h = t.linear(&x, w, None, None, Activation::Gelu).unwrap();
        let y = t.linear(&h, v, None, None, Activation::None).unwrap();
        t.backward(&t.mean(&y).unwrap()).unwrap()
    };
    let tied = run(&weight, &weight);
    // The same with two parameters of the same value.
    let other = parameter(&t, "other", ParamKind::Linear, &[3, 3], 1);
    let apart = run(&weight, &other);
    let sum = INNER.add(apart.get(&weight).unwrap(), apart.get(&other).unwrap()).unwrap();
    for (a, b) in tied.get(&weight).unwrap().data().iter().zip(sum.data()) {
        assert!((a - b).abs() < 1e-15);
    }
}

/// Gradients of a chain of blocks, each of which uses parameters, its input twice and a value from outside.
fn chain(wrap: impl Fn(&Tape<Inner>, &[Value], Block) -> Result<Value>) -> (Vec<Array<f64>>, usize) {
    let t = tape();
    let leaves = [t.leaf(numbers(1, &[1, 3, 3, 4])), t.leaf(numbers(2, &[1, 4]))];
    let embedding = t.scale(&leaves[1], 0.5).unwrap();
    let mut h = t.scale(&leaves[0], 1.5).unwrap();
    for i in 0..3 {
        let gamma = parameter(&t, &format!("{i}.gamma"), ParamKind::Vector, &[4], 10 + i);
        let beta = parameter(&t, &format!("{i}.beta"), ParamKind::Vector, &[4], 20 + i);
        let weight = parameter(&t, &format!("{i}.weight"), ParamKind::Conv, &[3, 3, 4, 4], 30 + i);
        let embedding = embedding.clone();
        let block = move |t: &Tape<Inner>, x: &[Value]| {
            let y = t.group_norm(&x[0], &gamma, &beta, 2, 1e-5, Activation::Silu)?;
            let y = t.add_channels(&y, &embedding)?;
            let options = Conv2d { activation: Activation::QuickGelu, ..Conv2d::padded(1) };
            t.conv2d(&y, &weight, Some(&beta), Some(&x[0]), options)
        };
        let skip = h.clone();
        h = wrap(&t, &[h], Box::new(block)).unwrap();
        h = t.add(&h, &skip).unwrap();
    }
    let loss = t.mean(&t.mul(&h, &h).unwrap()).unwrap();
    let nodes = t.recorded();
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(t.recorded(), 0);
    let of_parameters = t.parameters().into_iter().map(|p| gradients.get(&p).unwrap().clone());
    let of_leaves = leaves.iter().map(|leaf| gradients.leaf(leaf).unwrap().clone());
    (of_parameters.chain(of_leaves).chain([loss.value().clone()]).collect(), nodes)
}

type Block = Box<dyn Fn(&Tape<Inner>, &[Value]) -> Result<Value>>;

#[test]
fn checkpoints_change_no_bit_of_any_gradient() {
    let (plain, nodes) = chain(|t, x, block| block(t, x));
    let (checkpointed, fewer) = chain(|t, x, block| t.checkpoint(x, block));
    let (nested, fewest) = chain(|t, x, block| {
        let block = Rc::new(block);
        t.checkpoint(x, move |t, x| {
            let block = Rc::clone(&block);
            let y = t.checkpoint(x, move |t, x| block(t, x))?;
            t.scale(&t.scale(&y, 2.0)?, 0.5)
        })
    });
    assert_eq!(plain, checkpointed);
    assert_eq!(plain, nested);
    // A block of three operations is one node.
    assert_eq!((nodes, fewer, fewest), (2 + 3 * 4 + 2, 2 + 3 * 2 + 2, 2 + 3 * 2 + 2));
}

#[test]
fn a_checkpoint_may_give_back_an_input_a_constant_or_what_only_parameters_make() {
    let t = tape();
    let x = t.leaf(vector(&[1.0, 2.0]));
    let same = t.checkpoint(std::slice::from_ref(&x), |_, x| Ok(x[0].clone())).unwrap();
    let constant = t.checkpoint(std::slice::from_ref(&x), |t, _| t.from_f32([2].into(), vec![3.0, 5.0])).unwrap();
    assert_eq!(t.recorded(), 0);
    let table = parameter(&t, "table", ParamKind::Table, &[1, 2], 1);
    let row = {
        let table = table.clone();
        t.checkpoint(&[], move |t, _| t.reshape(&t.embedding(&table, &[0], 1)?, [2].into())).unwrap()
    };
    let loss = t.mean(&t.mul(&t.add(&same, &row).unwrap(), &constant).unwrap()).unwrap();
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(gradients.leaf(&x).unwrap().data(), [1.5, 2.5]);
    assert_eq!(gradients.get(&table).unwrap().data(), [1.5, 2.5]);
}

#[test]
fn an_error_in_a_block_is_an_error_of_the_checkpoint_and_of_backward() {
    let t = tape();
    let x = t.leaf(vector(&[1.0, 2.0]));
    let wrong = t.checkpoint(std::slice::from_ref(&x), |t, x| t.narrow(&x[0], 1, 2));
    assert!(matches!(wrong, Err(Error::Shape { op: "narrow", .. })));

    let runs = Cell::new(0);
    let y = t.checkpoint(std::slice::from_ref(&x), move |t, x| {
        runs.set(runs.get() + 1);
        t.narrow(&x[0], runs.get(), 1)
    });
    let loss = t.mean(&y.unwrap()).unwrap();
    assert!(matches!(t.backward(&loss), Err(Error::Shape { op: "narrow", .. })));
    assert_eq!(t.recorded(), 0);

    // The tape is as good as new.
    let loss = t.mean(&x).unwrap();
    assert_eq!(t.backward(&loss).unwrap().leaf(&x).unwrap().data(), [0.5, 0.5]);
}

#[test]
fn a_value_that_slips_out_of_a_checkpoint_is_an_error() {
    let t = tape();
    let x = t.leaf(vector(&[1.0, 2.0]));
    let slipped = Rc::new(RefCell::new(None));
    let into = Rc::clone(&slipped);
    t.checkpoint(std::slice::from_ref(&x), move |t, x| {
        let y = t.exp(&x[0])?;
        *into.borrow_mut() = Some(y.clone());
        t.abs(&y)
    })
    .unwrap();
    let slipped = slipped.take().unwrap();
    assert!(message(t.mean(&slipped)).contains("inside a checkpoint"));
}

#[test]
fn backward_is_refused_where_it_makes_no_sense() {
    let t = tape();
    let x = t.leaf(vector(&[1.0, 2.0]));
    let y = t.exp(&x).unwrap();
    assert!(matches!(t.backward(&y), Err(Error::Shape { op: "backward", .. })));
    assert_eq!(t.recorded(), 0);

    let loss = t.mean(&x).unwrap();
    let inside = t.checkpoint(&[], {
        let loss = loss.clone();
        move |t, _| t.backward(&loss).map(|_| loss.clone())
    });
    assert!(message(inside).contains("call it outside"));
    assert!(message(t.no_grad(|t| t.backward(&loss))).contains("call it outside"));
    t.backward(&loss).unwrap();
    assert!(message(t.backward(&loss)).contains("gone"), "backward twice");
    assert!(message(t.exp(&loss)).contains("gone"), "a value of the old recording in a new one");
}

#[test]
fn constants_are_not_recorded() {
    let t = tape();
    let x = t.constant(vector(&[1.0, 2.0]));
    let y = t.mul(&t.exp(&x).unwrap(), &x).unwrap();
    let loss = t.mean(&y).unwrap();
    assert_eq!(t.recorded(), 0);
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(gradients.iter().count(), 0);
    assert!(gradients.leaf(&x).is_none());
}

#[test]
fn without_gradients_nothing_is_recorded_and_the_result_is_a_constant() {
    let t = tape();
    let (parameters, leaves) = (network_parameters(&t), network_leaves(&t));
    let quiet = t.no_grad(|t| network(t, &parameters, &leaves)).unwrap();
    assert_eq!(t.recorded(), 0);
    let loud = network(&t, &parameters, &leaves).unwrap();
    assert!(t.recorded() > 0);
    assert!((quiet.value().data()[0] - loud.value().data()[0]).abs() < 1e-12);
    t.clear();
    assert_eq!(t.recorded(), 0);
    assert!(message(t.backward(&loud)).contains("gone"));
    let loss = t.mul(&quiet, &t.mean(&leaves[1]).unwrap()).unwrap();
    let gradients = t.backward(&loss).unwrap();
    assert_eq!(gradients.iter().count(), 0);
    assert!(gradients.leaf(&leaves[1]).is_some());
}

#[test]
fn frozen_parameters_are_constants_and_leaves_still_have_gradients() {
    let t = tape();
    let weight = parameter(&t, "weight", ParamKind::Linear, &[2, 3], 1);
    let constant = t.no_grad(|t| parameter(t, "weight", ParamKind::Linear, &[3, 1], 2));
    assert_eq!(t.parameters().len(), 1);
    let x = t.leaf(INNER.from_f32([1, 2].into(), vec![1.0, -2.0]).unwrap());
    let loss = |t: &Tape<Inner>| -> Value {
        let hidden = t.linear(&x, &weight, None, None, Activation::Relu).unwrap();
        t.mean(&t.linear(&hidden, &constant, None, None, Activation::LeakyRelu).unwrap()).unwrap()
    };
    let gradients = t.backward(&t.frozen(loss)).unwrap();
    assert!(gradients.get(&weight).is_none());
    let frozen = gradients.leaf(&x).unwrap().data().to_vec();
    let gradients = t.backward(&loss(&t)).unwrap();
    assert!(gradients.get(&weight).is_some());
    assert_eq!(gradients.iter().count(), 1);
    assert_eq!(gradients.leaf(&x).unwrap().data(), frozen);
}

#[test]
fn a_changed_parameter_is_used_by_the_next_forward() {
    let t = tape();
    let weight = parameter(&t, "weight", ParamKind::Linear, &[2, 2], 1);
    let x = t.constant(INNER.from_f32([1, 2].into(), vec![1.0, 1.0]).unwrap());
    let run = || t.no_grad(|t| t.linear(&x, &weight, None, None, Activation::None)).unwrap().value().data().to_vec();
    run();
    let square = |data| Array::new([2, 2].into(), data).unwrap();
    weight.set(t.inner(), square(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
    assert_eq!(run(), [4.0, 6.0]);
    weight.update(|w| INNER.accumulate(w, &square(vec![1.0; 4]))).unwrap();
    assert_eq!(run(), [6.0, 8.0]);

    let wrong = weight.set(t.inner(), vector(&[1.0; 4]));
    assert!(matches!(wrong, Err(Error::Shape { op: "set", .. })));
    assert_eq!(run(), [6.0, 8.0]);
}

#[test]
fn a_parameter_may_not_change_between_forward_and_backward() {
    let t = tape();
    let weight = parameter(&t, "weight", ParamKind::Linear, &[2, 2], 1);
    let x = t.constant(numbers(2, &[1, 2]));
    let run = || t.mean(&t.linear(&x, &weight, None, None, Activation::None).unwrap()).unwrap();
    let loss = run();
    weight.set(t.inner(), numbers(3, &[2, 2])).unwrap();
    assert!(message(t.backward(&loss)).contains("changed"));
    assert!(t.backward(&run()).is_ok());
}

#[test]
fn parameters_come_in_order_and_once() {
    let t = tape();
    network_parameters(&t);
    let names: Vec<_> = t.parameters().iter().map(|p| p.name().to_owned()).collect();
    assert_eq!(names, PARAMETERS.map(|p| p.0));
    for (i, (p, (_, kind, shape))) in t.parameters().iter().zip(PARAMETERS).enumerate() {
        assert_eq!((p.index(), p.kind(), &*p.shape()), (i, kind, shape));
    }
    let twice = t.param("time.bias", ParamKind::Vector, [4].into(), &[0.0; 4]);
    assert!(message(twice).contains("\"time.bias\" is taken"));
    assert!(t.param("new", ParamKind::Conv, [4].into(), &[0.0; 4]).is_err());
    assert!(t.param("new", ParamKind::Vector, [4].into(), &[0.0; 3]).is_err());
    assert_eq!(t.parameters().len(), PARAMETERS.len());
}

#[test]
fn gradients_of_two_batches_add_up() {
    let t = tape();
    let bias = parameter(&t, "bias", ParamKind::Vector, &[2], 1);
    let weight = parameter(&t, "weight", ParamKind::Linear, &[2, 2], 2);
    let leaf = t.leaf(numbers(3, &[1, 2]));
    let run = |bias: Option<&Parameter<Inner>>, factor: f32| -> Gradients<Inner> {
        let y = t.linear(&leaf, &weight, bias, None, Activation::Silu).unwrap();
        t.backward(&t.mean(&t.scale(&y, factor).unwrap()).unwrap()).unwrap()
    };
    let mut sum = run(None, 1.0);
    assert!(sum.get(&bias).is_none());
    let single = sum.get(&weight).unwrap().clone();
    sum.accumulate(&INNER, run(None, 2.0)).unwrap();
    for (sum, single) in sum.get(&weight).unwrap().data().iter().zip(single.data()) {
        assert!((sum - 3.0 * single).abs() < 1e-14);
    }
    let other = run(Some(&bias), 1.0);
    let (of_bias, before) = (other.get(&bias).unwrap().clone(), sum.leaf(&leaf).unwrap().data()[0]);
    let more = other.leaf(&leaf).unwrap().data()[0];
    sum.accumulate(&INNER, other).unwrap();
    assert_eq!(sum.get(&bias), Some(&of_bias));
    assert_eq!(sum.leaf(&leaf).unwrap().data()[0], before + more);
    assert_eq!(sum.iter().map(|(index, _)| index).collect::<Vec<_>>(), [bias.index(), weight.index()]);
}
