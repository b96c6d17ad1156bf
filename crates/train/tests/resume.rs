//! Runs that are killed and go on: the losses, and everything they end in, are those of a run that never stopped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::Duration,
};

use calotype_image::{RgbImage, encode_png};
use calotype_train::{RunOptions, Summary, train_autoencoder, train_diffusion};

/// Which config a child process trains: a variable of [`child`]'s environment.
const CONFIG: &str = "CALOTYPE_TEST_CONFIG";

/// Not a test of its own: the process that the tests start and kill.
#[test]
fn child() {
    let Some(config) = std::env::var_os(CONFIG) else { return };
    // Slow enough for the kills to hit every part of a run.
    train(Path::new(&config), true, &mut |_| sleep(Duration::from_millis(3))).unwrap();
}

fn train(
    config: &Path,
    resume: bool,
    progress: &mut (dyn FnMut(&calotype_train::Progress) + Send),
) -> calotype_train::Result<Summary> {
    train_stopping(config, resume, &AtomicBool::new(false), progress)
}

fn train_stopping(
    config: &Path,
    resume: bool,
    stop: &AtomicBool,
    progress: &mut (dyn FnMut(&calotype_train::Progress) + Send),
) -> calotype_train::Result<Summary> {
    let options = RunOptions { resume, threads: 1, skip_bad: false, set: &[], stop, progress, tell: &mut |_| {} };
    if config.ends_with("autoencoder.toml") {
        train_autoencoder(config, options)
    } else {
        train_diffusion(config, options)
    }
}

fn start(config: &Path, before: &str) -> Child {
    let test = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" --exact child --nocapture")])
        .arg(test)
        .env(CONFIG, config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A folder of twelve pictures and the two configs, whose runs are kept in `output`.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pictures = folder.path().join("pictures");
        fs::create_dir(&pictures).unwrap();
        let mut list = String::new();
        for i in 0..12u8 {
            let mut picture = RgbImage::filled(8, 8, [i * 20, 255 - i * 20, 128]);
            (0..8).for_each(|x| picture.set_pixel(x, u32::from(i % 8), [255, 255, i]));
            fs::write(pictures.join(format!("{i}.png")), encode_png(&picture, &[]).unwrap()).unwrap();
            list += &format!("{{\"file_name\":\"{i}.png\",\"text\":\"picture {}\"}}\n", i % 5);
        }
        fs::write(pictures.join("metadata.jsonl"), list).unwrap();
        Self { folder }
    }

    /// Writes a config under `run` and gives its path.
    fn config(&self, run: &str, task: &str, model: &str) -> PathBuf {
        let folder = self.folder.path().join(run);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{task}.toml"));
        let text = format!(
            "output = \"output\"\n[data]\nfolder = \"../pictures\"\nheld_out = \"../pictures\"\nsize = 8\n\
             [train]\nbatch_size = 3\ngradient_accumulation = 2\nsteps = 25\nlearning_rate = 0.002\nwarmup_steps = 4\nseed = 7\n\
             [report]\nsample_every = 9\nevaluate_every = 6\ncheckpoint_every = 2\nsample_steps = 2\nprompts = [\"picture 1\"]\n{model}"
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn autoencoder(&self, run: &str) -> PathBuf {
        self.config(run, "autoencoder", "[model]\nblock_out_channels = [4, 8]\nnorm_num_groups = 2\n")
    }

    /// With a discriminator from step 9 on.
    fn adversarial(&self, run: &str) -> PathBuf {
        let model = "[model]\nblock_out_channels = [4, 8]\nnorm_num_groups = 2\n\
             [loss.discriminator]\nstart = 8\nchannels = 2\nlayers = 1\n";
        self.config(run, "autoencoder", model)
    }

    fn diffusion(&self, run: &str, autoencoder: &str) -> PathBuf {
        let model = format!(
            "[model]\nautoencoder = \"../{autoencoder}/output/model\"\nblock_out_channels = [4, 8]\nlayers_per_block = 1\n\
             attention_levels = [false, true]\nattention_heads = 2\nnorm_num_groups = 2\n\
             [model.text_encoder]\nhidden_size = 4\nnum_hidden_layers = 1\nnum_attention_heads = 2\n"
        );
        self.config(run, "diffusion", &model)
    }
}

/// The metrics without their times, and the bytes of everything else that a run ends in.
fn results(config: &Path) -> (Vec<serde_json::Value>, Vec<(String, Vec<u8>)>) {
    let output = config.with_file_name("output");
    let lines = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let without_time = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds").unwrap();
        value
    };
    let files = ["checkpoint.safetensors", "loss.png", "samples/step_000025.png"];
    let mut files: Vec<PathBuf> = files.iter().map(|file| output.join(file)).collect();
    for part in ["vae", "unet", "text_encoder"].map(|part| output.join("model").join(part)) {
        files.extend(fs::read_dir(part).into_iter().flatten().map(|file| file.unwrap().path()));
    }
    files.sort();
    let name = |file: &Path| file.strip_prefix(&output).unwrap().display().to_string();
    (lines.lines().map(without_time).collect(), files.iter().map(|f| (name(f), fs::read(f).unwrap())).collect())
}

/// Compares what two runs ended in.
fn assert_equal(a: &Path, b: &Path) {
    let ((metrics_a, files_a), (metrics_b, files_b)) = (results(a), results(b));
    assert_eq!(metrics_a.len(), 25);
    for (a, b) in metrics_a.iter().zip(&metrics_b) {
        assert_eq!(a, b);
    }
    assert_eq!(metrics_a.len(), metrics_b.len());
    assert_eq!(files_a.len(), files_b.len());
    for ((name, a), (_, b)) in files_a.iter().zip(&files_b) {
        assert!(a == b, "{name} differs");
    }
}

/// Starts the run again and again and kills it: twice as it starts, then each time some more steps are recorded. Where exactly
/// a kill hits differs from run to run of the test: that is the point. Then lets it end.
fn train_with_kills(config: &Path) {
    use std::hash::{BuildHasher, RandomState};
    let metrics = config.with_file_name("output").join("metrics.jsonl");
    let recorded = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
    for (steps, longest) in [(0, 40), (0, 40), (3, 6), (7, 6), (12, 6), (17, 6)] {
        let mut child = start(config, "");
        while recorded() < steps {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before step {steps}");
            sleep(Duration::from_micros(200));
        }
        sleep(Duration::from_micros(RandomState::new().hash_one(steps) % (1000 * longest)));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the run ended before it was killed");
    }
    assert!(start(config, "").wait().unwrap().success());
}

#[test]
fn killed_runs_of_an_autoencoder_and_of_diffusion_end_like_whole_ones() {
    let place = Place::new();
    let (whole, killed) = (place.autoencoder("a"), place.autoencoder("b"));
    let summary = train(&whole, false, &mut |_| {}).unwrap();
    assert_eq!((summary.step, summary.total), (25, 25));
    assert!(summary.held_out["psnr"] > 3.0, "{summary:?}");
    train_with_kills(&killed);
    assert_equal(&whole, &killed);

    let (whole, killed) = (place.diffusion("c", "a"), place.diffusion("d", "b"));
    train(&whole, false, &mut |_| {}).unwrap();
    train_with_kills(&killed);
    assert_equal(&whole, &killed);
}

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_the_last_checkpoint() {
    let place = Place::new();
    let (whole, stopped) = (place.autoencoder("a"), place.autoencoder("b"));
    train(&whole, false, &mut |_| {}).unwrap();

    let stop = AtomicBool::new(false);
    let mut progress = |p: &calotype_train::Progress| stop.store(p.step == 5, Ordering::Relaxed);
    assert_eq!(train_stopping(&stopped, false, &stop, &mut progress).unwrap().step, 5);
    let checkpoint = stopped.with_file_name("output").join("checkpoint.safetensors");
    let before = fs::read(&checkpoint).unwrap();
    assert!(before.len() > 32 * 1024);
    // No file may grow past 16 KiB: the metrics fit, a checkpoint does not.
    assert!(!start(&stopped, "trap '' XFSZ; ulimit -f 16;").wait().unwrap().success());
    assert!(fs::read(&checkpoint).unwrap() == before);
    train(&stopped, true, &mut |_| {}).unwrap();
    assert_equal(&whole, &stopped);
}

#[test]
fn a_killed_run_against_a_discriminator_has_the_losses_of_one_that_was_not() {
    let place = Place::new();
    let (whole, killed) = (place.adversarial("whole"), place.adversarial("killed"));
    train(&whole, false, &mut |_| {}).unwrap();
    train_with_kills(&killed);
    assert_equal(&whole, &killed);
    let (lines, _) = results(&whole);
    let of_discriminator = |step: usize| lines[step - 1]["terms"].get("discriminator").is_some();
    assert!(!of_discriminator(8) && of_discriminator(9) && of_discriminator(25));
}

#[test]
fn mixed_precision_learns_as_f32_does_and_goes_on_after_a_kill() {
    let place = Place::new();
    let (in_f32, mixed, killed) = (place.autoencoder("f32"), place.autoencoder("mixed"), place.autoencoder("killed"));
    for config in [&in_f32, &mixed, &killed] {
        replaced(config, "size = 8\n", "size = 8\nrandom_crop = 4\n");
    }
    for config in [&mixed, &killed] {
        replaced(config, "seed = 7\n", "seed = 7\nmixed_precision = \"bf16\"\n");
    }
    if calotype_tensor::cpu::Isa::preferred().unwrap() < calotype_tensor::cpu::Isa::Avx512Bf16 {
        let error = train(&mixed, false, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("train.mixed_precision") && error.contains("AVX-512 BF16"), "{error}");
        return;
    }
    train(&in_f32, false, &mut |_| {}).unwrap();
    train(&mixed, false, &mut |_| {}).unwrap();
    train_with_kills(&killed);
    assert_equal(&mixed, &killed);
    let [a, b] = [&in_f32, &mixed]
        .map(|config| results(config).0.iter().map(|line| line["loss"].as_f64().unwrap()).collect::<Vec<f64>>());
    assert_ne!(a, b);
    for (step, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= 0.02 * a, "step {}: {b}, in f32 {a}", step + 1);
    }
}

#[test]
fn a_changed_config_is_refused_unless_only_reports_change() {
    let place = Place::new();
    let config = place.autoencoder("a");
    let stop = AtomicBool::new(true);
    assert_eq!(train_stopping(&config, false, &stop, &mut |_| {}).unwrap().step, 0);
    assert!(train(&config, false, &mut |_| {}).unwrap_err().to_string().contains("--resume"));

    // A run of no steps has no checkpoint that binds it; one step makes one.
    let text = fs::read_to_string(&config).unwrap();
    let set = |from: &str, to: &str| {
        assert!(text.contains(from));
        fs::write(&config, text.replace(from, to)).unwrap();
        train(&config, true, &mut |_| {})
    };
    assert_eq!(set("steps = 25", "steps = 1").unwrap().step, 1);
    for (from, to, key) in [
        ("seed = 7", "seed = 8", "train.seed"),
        ("batch_size = 3", "batch_size = 4", "train.batch_size"),
        ("norm_num_groups = 2", "norm_num_groups = 4", "model.norm_num_groups"),
    ] {
        let message = set(from, to).unwrap_err().to_string();
        assert!(message.contains(&format!("another {key};")) && !message.contains('\n'), "{message}");
    }
    assert_eq!(set("steps = 25", "steps = 3").unwrap().step, 3);
    assert!(set("steps = 25", "steps = 2").unwrap_err().to_string().contains("past train.steps = 2"));
    let summary = set("sample_every = 9", "sample_every = 1").unwrap();
    assert_eq!(summary.step, 25);
}

#[test]
fn other_inputs_are_refused() {
    let place = Place::new();
    let config = place.autoencoder("a");
    train(&config, false, &mut |_| {}).unwrap();
    let list = place.folder.path().join("pictures/metadata.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.lines().take(11).collect::<Vec<_>>().join("\n")).unwrap();
    let message = train(&config, true, &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("was made from other pictures") && !message.contains('\n'), "{message}");
}

#[test]
fn a_frozen_encoder_stays_while_the_decoder_learns() {
    let place = Place::new();
    let first = place.autoencoder("a");
    train(&first, false, &mut |_| {}).unwrap();
    let model = "[model]\nblock_out_channels = [4, 8]\nnorm_num_groups = 2\nfreeze_encoder = true\n";
    let second = place.config("b", "autoencoder", model);
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&second, text.replace("seed = 7", "seed = 7\ninit_from = \"../a/output/model\"")).unwrap();
    train(&second, false, &mut |_| {}).unwrap();

    let weights = |config: &Path| {
        let file = config.with_file_name("output/model/vae/diffusion_pytorch_model.safetensors");
        calotype_formats::SafeTensors::open(&file).unwrap()
    };
    let (before, after) = (weights(&first), weights(&second));
    for tensor in before.tensors() {
        let same = before.read(&tensor.name).unwrap() == after.read(&tensor.name).unwrap();
        let frozen = tensor.name.starts_with("encoder.") || tensor.name.starts_with("quant_conv.");
        assert!(same || !frozen, "{} changed", tensor.name);
        assert!(!same || frozen || tensor.name.ends_with(".bias"), "{} did not change", tensor.name);
    }
}

fn replaced(config: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(config, text.replace(from, to)).unwrap();
}

#[test]
fn checkpoints_before_the_last_are_kept() {
    let place = Place::new();
    let (whole, config) = (place.autoencoder("whole"), place.autoencoder("kept"));
    train(&whole, false, &mut |_| {}).unwrap();
    replaced(&config, "checkpoint_every = 2", "checkpoint_every = 2\nkeep = 3");
    train(&config, false, &mut |_| {}).unwrap();
    let output = config.with_file_name("output");
    let mut kept: Vec<String> =
        fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    kept.retain(|name| name.starts_with("checkpoint"));
    kept.sort();
    assert_eq!(kept, ["checkpoint.safetensors", "checkpoint_000022.safetensors", "checkpoint_000024.safetensors"]);
    // From each the run goes on as if it had never stopped.
    for older in [&kept[1], &kept[2]] {
        fs::write(output.join("checkpoint.safetensors"), b"cut").unwrap();
        let message = train(&config, true, &mut |_| {}).unwrap_err().to_string();
        let advice = format!(
            "; the one before is kept: copy {} over it",
            output.join("checkpoint_000024.safetensors").display()
        );
        assert!(message.contains("checkpoint.safetensors: ") && message.ends_with(&advice), "{message}");
        fs::copy(output.join(older), output.join("checkpoint.safetensors")).unwrap();
        train(&config, true, &mut |_| {}).unwrap();
        assert_equal(&whole, &config);
    }
}

/// The checkpoint before stays, and with what is advised the run goes on from it.
#[test]
fn a_ruined_run_goes_on_from_its_last_sound_checkpoint() {
    let place = Place::new();
    let config = place.autoencoder("a");
    replaced(&config, "steps = 25", "steps = 4");
    replaced(&config, "warmup_steps = 4", "warmup_steps = 0");
    assert_eq!(train(&config, false, &mut |_| {}).unwrap().step, 4);
    replaced(&config, "steps = 4\n", "steps = 25\n");
    replaced(&config, "learning_rate = 0.002", "learning_rate = 1e30");
    let message = train(&config, true, &mut |_| {}).unwrap_err().to_string();
    let advice = "is not finite: lower train.learning_rate or train.gradient_clip, which may change, and --resume from the checkpoint of step 4";
    assert!(message.starts_with("step ") && message.ends_with(advice), "{message}");
    replaced(&config, "learning_rate = 1e30", "learning_rate = 0.001\ngradient_clip = 0.5");
    let summary = train(&config, true, &mut |_| {}).unwrap();
    assert!(summary.step == 25 && summary.loss.unwrap().is_finite());

    let begun_badly = place.autoencoder("b");
    replaced(&begun_badly, "learning_rate = 0.002\nwarmup_steps = 4", "learning_rate = 1e38");
    let message = train(&begun_badly, false, &mut |_| {}).unwrap_err().to_string();
    assert!(message.ends_with("which may change, and begin anew: there is no checkpoint yet"), "{message}");
}

#[test]
fn cached_latents_that_are_no_numbers_name_their_picture() {
    let place = Place::new();
    train(&place.autoencoder("vae"), false, &mut |_| {}).unwrap();
    let config = place.diffusion("a", "vae");
    replaced(&config, "steps = 25", "steps = 1");
    train(&config, false, &mut |_| {}).unwrap();
    let cache = config.with_file_name("output").join("latents_train.safetensors");
    let mut bytes = fs::read(&cache).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // Means and log-variances of 4 x 4 latents of 4 channels.
    let place_of = |picture: usize| header + 4 * picture * 4 * 4 * 8;
    assert_eq!(bytes.len(), place_of(12));
    bytes[place_of(7) + 40..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&cache, bytes).unwrap();
    let message = train(&config, true, &mut |_| {}).unwrap_err().to_string();
    let end = "pictures/7.png: the autoencoder gives no finite latents for this picture: check model.autoencoder, or leave the picture out";
    assert!(message.ends_with(end), "{message}");
}
