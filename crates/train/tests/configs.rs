//! Config files that break a rule: one line that names the file, the key and what is allowed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path, sync::atomic::AtomicBool};

use calotype_train::{Notice, Progress, RunOptions, train_autoencoder, train_diffusion};

const AUTOENCODER: &str = "output = \"out\"\n[data]\nfolder = \"pictures\"\nsize = 8\n\
    [model]\nblock_out_channels = [4, 8]\nnorm_num_groups = 2\n\
    [train]\nbatch_size = 2\nsteps = 10\nlearning_rate = 0.001\n";

const DIFFUSION: &str = "output = \"out\"\n[data]\nfolder = \"pictures\"\nsize = 8\n\
    [model]\nautoencoder = \"vae\"\nblock_out_channels = [4, 8]\nlayers_per_block = 1\nattention_levels = [false, true]\n\
    attention_heads = 2\nnorm_num_groups = 2\n\
    [model.text_encoder]\nhidden_size = 4\nnum_hidden_layers = 1\nnum_attention_heads = 2\n\
    [loss]\ntimesteps = \"uniform\"\n\
    [train]\nbatch_size = 2\nsteps = 10\nlearning_rate = 0.001\n";

fn options<'a>(
    stop: &'a AtomicBool,
    progress: &'a mut (dyn FnMut(&Progress) + Send),
    tell: &'a mut (dyn FnMut(&Notice) + Send),
) -> RunOptions<'a> {
    RunOptions { resume: false, threads: 1, skip_bad: false, set: &[], stop, progress, tell }
}

/// The message for a config that is `text` with `from` replaced by `to`.
fn message(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let result = if text == DIFFUSION { train_diffusion } else { train_autoencoder }(
        &path,
        options(&AtomicBool::new(false), &mut |_| {}, &mut |_| {}),
    );
    let message = result.unwrap_err().to_string();
    assert!(fs::read_dir(folder.path()).unwrap().count() == 1, "a refused start leaves nothing behind");
    assert!(!message.contains('\n'), "{message}");
    message.replace(&path.display().to_string(), "run.toml")
}

#[test]
fn values_out_of_range_are_named() {
    for (from, to, expected) in [
        ("batch_size = 2", "batch_size = 0", "run.toml: train.batch_size: expected 1 or more, got 0"),
        ("steps = 10", "steps = 0", "run.toml: train.steps: expected 1 or more, got 0"),
        ("learning_rate = 0.001", "learning_rate = nan", "train.learning_rate: expected a number above 0, got NaN"),
        ("steps = 10", "steps = 10\nbetas = [0.9, 1.0]", "train.betas: expected two numbers from 0 to below 1"),
        ("steps = 10", "steps = 10\nema_decay = 1.0", "train.ema_decay"),
        ("size = 8", "size = 9", "data.size: expected a multiple of 2 up to 4096, got 9"),
        ("size = 8", "size = 0", "data.size"),
        (
            "size = 8",
            "size = 8\nrandom_crop = 16",
            "data.random_crop: expected a multiple of 2 up to data.size, got 16",
        ),
        ("size = 8", "size = 8\nrandom_crop = 3", "data.random_crop"),
        ("[4, 8]", "[]", "model.block_out_channels: expected 1 to 8 levels"),
        ("[4, 8]", "[4, 9]", "model.block_out_channels: expected multiples of model.norm_num_groups"),
        ("norm_num_groups = 2", "norm_num_groups = 0", "model.block_out_channels: expected multiples"),
        ("[train]", "[loss]\nl1_weight = 0\n[train]", "loss.l1_weight: expected a number above 0"),
        ("[train]", "[report]\ncheckpoint_minutes = 0\n[train]", "report.checkpoint_minutes"),
        ("[train]", "[report]\nkeep = 0\n[train]", "report.keep: expected 1 to 1000, got 0"),
    ] {
        let got = message(AUTOENCODER, from, to);
        assert!(got.contains(expected), "{got}");
    }
    for (from, to, expected) in [
        ("attention_heads = 2", "attention_heads = 3", "model.attention_heads: expected a divisor of all of"),
        ("[false, true]", "[true]", "model.attention_levels: expected one entry for each"),
        (
            "num_attention_heads = 2",
            "num_attention_heads = 3",
            "num_attention_heads: expected a divisor of hidden_size",
        ),
        ("timesteps", "conditioning_dropout = 2\ntimesteps", "loss.conditioning_dropout: expected 0 to 1, got 2"),
        ("\"uniform\"", "{ logit_normal = { mean = 0, std = 0 } }", "loss.timesteps.logit_normal"),
        ("size = 8", "size = 8\nrandom_crop = 4", "data.random_crop: is for an autoencoder, leave it out"),
        ("timesteps", "weighting = { min_snr = { gamma = 0 } }\ntimesteps", "loss.weighting"),
    ] {
        let got = message(DIFFUSION, from, to);
        assert!(got.contains(expected), "{got}");
    }
}

#[test]
fn what_toml_refuses_is_told_with_its_line() {
    for (from, to, expected) in [
        ("steps = 10", "stesp = 10", "run.toml: line 10: unknown field `stesp`, expected one of `batch_size`"),
        ("steps = 10", "max_train_steps = 10", "; it may be train.steps that is meant"),
        ("steps = 10", "", "missing field `steps`"),
        ("steps = 10", "steps = \"ten\"", "run.toml: line 10: invalid type: string \"ten\", expected u64"),
        ("steps = 10", "steps = 10\ndecay = \"cosinus\"", "unknown variant `cosinus`, expected one of `cosine`"),
        ("[data]", "[data", "run.toml: line 2"),
    ] {
        let got = message(AUTOENCODER, from, to);
        assert!(got.contains(expected), "{got}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    assert!(message(AUTOENCODER, "pictures", "pictures").contains("pictures: cannot list the pictures: "));
    assert!(message(DIFFUSION, "pictures", "pictures").contains("vae: there is no such file or folder"));
    let (stop, file) = (AtomicBool::new(false), Path::new("no/such.toml"));
    let error = train_autoencoder(file, options(&stop, &mut |_| {}, &mut |_| {})).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: cannot read the config"), "{error}");
}

/// Values in the place of the file's.
#[test]
fn settings_replace_values_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, AUTOENCODER).unwrap();
    let message = |set: &[&str]| {
        let (stop, set) = (AtomicBool::new(false), set.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        let (mut progress, mut tell) = (|_: &Progress| {}, |_: &Notice| {});
        let options = RunOptions { set: &set, ..options(&stop, &mut progress, &mut tell) };
        train_autoencoder(&path, options).unwrap_err().to_string().replace(&path.display().to_string(), "run.toml")
    };
    for (set, expected) in [
        (&["train.steps=0"][..], "run.toml: train.steps: expected 1 or more, got 0"),
        (
            &["train.steps=0", "train.steps = 5", "data.folder=other pictures"],
            "other pictures: cannot list the pictures",
        ),
        (&["model.block_out_channels=[4, 9]"], "expected multiples of model.norm_num_groups"),
        (&["report.keep=0"], "report.keep: expected 1 to 1000, got 0"),
        (&["train.lr=1"], "run.toml: unknown field `lr`"),
        (&["train.max_grad_norm=1"], "; it may be train.gradient_clip that is meant"),
        (&["train.steps"], "train.steps: expected a key and its value, as in train.steps=10"),
        (&["train..steps=1"], "expected a key and its value"),
        (&["train.steps.x=1"], "steps is a value and has no keys"),
        (&["train.steps=ten"], "invalid type: string \"ten\""),
    ] {
        let got = message(set);
        assert!(got.contains(expected) && !got.contains('\n'), "{set:?}: {got}");
    }
}
