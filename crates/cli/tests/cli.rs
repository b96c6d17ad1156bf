//! The program from outside: exit statuses, messages, files.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use calotype::sampling::SamplerKind;
use calotype_image::{Limits, read_png_text};
use serde_json::Value;
use tempfile::TempDir;

use crate::models::Sizes;

/// A folder to work in, with a small model in `model`.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(&folder.path().join("model"));
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command
}

fn calotype(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().unwrap()
}

/// `txt2img` with the small model, three steps, and more arguments.
fn txt2img(folder: &Path, args: &[&str]) -> Output {
    calotype(folder, &[&["txt2img", "a tree", "--model", "model", "--steps", "3"], args].concat())
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    crate::notes::without(std::str::from_utf8(&output.stderr).unwrap())
}

/// It worked, and this is what it printed.
fn done(output: &Output) -> &str {
    assert_eq!((output.status.code(), stderr(output)), (Some(0), ""));
    stdout(output)
}

/// It failed with the exit status, nothing on stdout, and the line `error: message`, perhaps with a hint after it.
fn refused(output: &Output, status: i32, message: &str) {
    let mut lines = stderr(output).lines();
    let error = lines.next().unwrap_or_default();
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert_eq!(error, format!("error: {message}"));
    assert!(lines.all(|line| line.starts_with("hint: ")), "{}", stderr(output));
    assert_eq!(stdout(output), "");
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn texts(png: &Path) -> Vec<(String, String)> {
    read_png_text(&fs::read(png).unwrap()).unwrap()
}

#[test]
fn pictures_count_up_and_none_is_replaced() {
    let folder = workplace();
    assert_eq!(done(&txt2img(folder.path(), &[])), "outputs/00000.png\n");
    let first = fs::read(folder.path().join("outputs/00000.png")).unwrap();
    fs::write(folder.path().join("outputs/00007.png"), "mine").unwrap();
    assert_eq!(done(&txt2img(folder.path(), &["--batch-size", "2"])), "outputs/00008.png\noutputs/00009.png\n");
    assert_eq!(files(&folder.path().join("outputs")), ["00000.png", "00007.png", "00008.png", "00009.png"]);
    // The same picture again, byte for byte.
    assert_eq!(fs::read(folder.path().join("outputs/00008.png")).unwrap(), first);
}

#[test]
fn output_is_a_file_for_one_picture_and_a_folder_for_several() {
    let folder = workplace();
    assert_eq!(done(&txt2img(folder.path(), &["--output", "new/tree.png"])), "new/tree.png\n");
    assert_eq!(done(&txt2img(folder.path(), &["--output", "new/tree.png", "--seed", "1"])), "new/tree.png\n");
    assert!(texts(&folder.path().join("new/tree.png"))[0].1.contains("Seed: 1,"));
    assert_eq!(done(&txt2img(folder.path(), &["--output", "new"])), "new/00000.png\n");
    let several = txt2img(folder.path(), &["--output", "more", "--batch-count", "2", "--quiet"]);
    assert_eq!(done(&several), "");
    assert_eq!(files(&folder.path().join("more")), ["00000.png", "00001.png"]);
    let file = txt2img(folder.path(), &["--output", "new/tree.png", "--batch-count", "2"]);
    refused(&file, 2, "--output new/tree.png is a file, but several pictures need a folder: give another path");
    let gif = txt2img(folder.path(), &["--output", "tree.gif"]);
    let message = "--output tree.gif: images are written as PNG, JPEG or WebP: end it in .png, .jpg or .webp";
    refused(&gif, 2, message);
}

#[test]
fn a_picture_says_how_it_was_made() {
    let folder = workplace();
    let args = ["--json", "--batch-size", "2", "--batch-count", "2", "--seed", "5", "--guidance-scale", "7.3"];
    let output = txt2img(folder.path(), &args);
    let lines: Vec<Value> = done(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    for (k, object) in lines.iter().enumerate() {
        let path = object["path"].as_str().unwrap();
        assert_eq!((path, object["seed"].as_u64()), (format!("outputs/{k:05}.png").as_str(), Some(5 + k as u64)));
        assert!(object["seconds"].as_f64().unwrap() > 0.0);
        let timing = |key: &str| object["timings"][key].as_f64().unwrap();
        assert!(timing("step") > 0.0 && timing("decode") > 0.0);
        // From the start of the process: the second batch's first step is after the first batch.
        assert!(k < 2 || timing("first_step") > lines[0]["timings"]["first_step"].as_f64().unwrap());
        let texts = texts(&folder.path().join(path));
        assert_eq!(
            texts.iter().map(|(keyword, _)| keyword.as_str()).collect::<Vec<_>>(),
            ["parameters", "calotype", "XML:com.adobe.xmp"]
        );
        let hash = object["model_hash"].as_str().unwrap();
        let settings = format!(
            "a tree\nSteps: 3, Sampler: DDIM, CFG scale: 7.3, Seed: {}, Size: 32x32, Model hash: {}, Model: model, RNG: CPU, Version: calotype {}",
            5 + k,
            &hash[..10],
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(texts[0].1, settings);
        // What is printed is what the file says, and where it is and how long it took.
        let mut printed = object.as_object().unwrap().clone();
        assert!(["path", "seconds", "timings", "warnings"].iter().all(|&key| printed.remove(key).is_some()));
        assert_eq!(serde_json::from_str::<Value>(&texts[1].1).unwrap(), Value::Object(printed));
    }
}

#[test]
fn each_picture_can_be_made_again_alone() {
    let folder = workplace();
    done(&txt2img(folder.path(), &["--sampler", "euler_a", "--batch-size", "3", "--output", "batch"]));
    done(&txt2img(folder.path(), &["--sampler", "euler_a", "--seed", "44", "--output", "alone.png", "--threads", "1"]));
    let [batch, alone] = ["batch/00002.png", "alone.png"].map(|file| fs::read(folder.path().join(file)).unwrap());
    assert!(batch == alone);
}

#[test]
fn both_methods_of_convolution_give_nearly_the_same_picture() {
    let folder = workplace();
    let made = ["direct", "winograd"].map(|method| {
        let [latents, picture] = ["safetensors", "png"].map(|ending| format!("{method}.{ending}"));
        let args = ["--precision", "f32", "--convolution", method, "--save-latents", &latents, "--output", &picture];
        done(&txt2img(folder.path(), &args));
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        let pixels = calotype_image::decode(&read(&picture), &Limits::default()).unwrap().into_data();
        (read(&latents), pixels)
    });
    let [(direct, a), (winograd, b)] = made;
    assert!(direct != winograd, "the methods round differently");
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 1));
}

#[test]
fn latents_go_out_and_in() {
    let folder = workplace();
    done(&txt2img(folder.path(), &["--batch-size", "2", "--batch-count", "2", "--save-latents", "l/four.safetensors"]));
    let four = calotype::latents::read_latents(folder.path().join("l/four.safetensors")).unwrap();
    assert_eq!(four.shape(), [4, 8, 8, 4]);
    let output = txt2img(folder.path(), &["--latents", "l/four.safetensors", "--json", "--output", "again"]);
    let lines: Vec<Value> = done(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    let third = &lines[3]["latents"];
    assert_eq!((third["file"].as_str(), third["index"].as_u64()), (Some("l/four.safetensors"), Some(3)));
    assert_eq!(third["sha256"], calotype::latents::latents_sha256(&four.slice(3, 1).unwrap()));
    let output = txt2img(folder.path(), &["--latents", "l/four.safetensors", "--batch-size", "3"]);
    let message = "--latents has 4 pictures, but --batch-size times --batch-count asks for 3: make them equal";
    refused(&output, 2, message);
}

#[test]
fn wrong_use_exits_with_2_and_one_line() {
    let folder = workplace();
    let wrong = |args: &[&str], message: &str| refused(&txt2img(folder.path(), args), 2, message);
    wrong(&["--width", "33"], "width 33 is not a multiple of 4, which this model needs: give 32 or 36");
    wrong(&["--steps", "0"], "0 steps are out of range for sampler ddim: give 1 to 999");
    wrong(
        &["--eta", "0.5", "--sampler", "euler"],
        "sampler euler has no eta (got 0.5): leave eta at 0 or use the sampler ddim",
    );
    wrong(&["--eta", "nan"], "eta is NaN: give a number from 0 (deterministic) to 1 (as much noise as DDPM)");
    wrong(&["--guidance-scale", "nan"], "guidance scale NaN is out of range: give a number from 0, such as 7.5");
    wrong(&["--batch-size", "0"], "batch size 0 is out of range: give 1 to 1024");
    wrong(&["--batch-count", "0"], "--batch-count 0 is out of range: give 1 to 1000000");
    wrong(
        &["--schedule", "karras"],
        "sampler ddim has no karras schedule: use --schedule default or another sampler (euler, dpmpp_2m, ...)",
    );
    wrong(&["--threads", "0"], "invalid value '0' for '--threads <N>': expected a number from 1 to 1024");
    let unknown = "magic".parse::<SamplerKind>().expect_err("there is no such sampler");
    assert!(unknown.to_string().contains("dpmpp_2m"), "{unknown}");
    wrong(&["--sampler", "magic"], &format!("invalid value 'magic' for '--sampler <NAME>': {unknown}"));
    wrong(
        &["--precision", "f8"],
        "invalid value 'f8' for '--precision <TYPE>' [possible values: auto, f32, bf16, f16, int8]",
    );
    wrong(
        &["--convolution", "fft"],
        "invalid value 'fft' for '--convolution <METHOD>' [possible values: auto, direct, winograd]",
    );
    wrong(&["--stepz", "3"], "unexpected argument '--stepz' found");
    for nothing in [&[][..], &["train"], &["models"]] {
        refused(&calotype(folder.path(), nothing), 2, "a command is missing");
    }
    let none = calotype(folder.path(), &["txt2img"]);
    refused(&none, 2, "the following required arguments were not provided: <PROMPT>");
    let steps = calotype(folder.path(), &["txt2img", "a", "--model", "model", "--steps", "1000"]);
    refused(&steps, 2, "1000 steps are out of range for sampler ddim: give 1 to 999");
    assert_eq!(files(folder.path()), ["model"]);
}

#[test]
fn failure_exits_with_1_and_one_line() {
    let folder = workplace();
    let failed = |args: &[&str], message: &str| refused(&calotype(folder.path(), args), 1, message);
    let no_index = "there is no such file, so the folder is no diffusers model: give the folder that has one, or a checkpoint file";
    failed(&["txt2img", "a", "--model", "model/unet"], &format!("model/unet/model_index.json: {no_index}"));
    failed(
        &["txt2img", "a", "--model", "nowhere"],
        "nowhere: there is no such file or folder: give a checkpoint, or the folder of a diffusers model",
    );
    let weights = "model/vae/diffusion_pytorch_model.safetensors";
    let bytes = fs::read(folder.path().join(weights)).unwrap();
    fs::write(folder.path().join(weights), &bytes[..1000]).unwrap();
    for args in [["models", "inspect", "model"], ["models", "inspect", weights]] {
        let output = calotype(folder.path(), &args);
        assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(1), 1), "{}", stderr(&output));
        assert!(stderr(&output).starts_with(&format!("error: {weights}: ")), "{}", stderr(&output));
    }
    failed(
        &["train", "autoencoder", "--config", "none.toml"],
        "none.toml: cannot read the config: No such file or directory (os error 2)",
    );
}

#[test]
fn any_prompt_will_do() {
    let folder = workplace();
    for prompt in ["", "\u{1}\u{7f}\n\r\tx", "🐙 \u{202e}‏", "<|endoftext|> Steps: 3, Seed: 9"] {
        let output = calotype(folder.path(), &["txt2img", prompt, "--model", "model", "--steps", "1", "--json"]);
        let object: Value = serde_json::from_str(done(&output)).unwrap();
        assert_eq!(object["prompt"], prompt);
        let texts = texts(&folder.path().join(object["path"].as_str().unwrap()));
        assert!(texts[0].1.starts_with(&format!("{prompt}\nSteps: 1")));
    }
    let long = calotype(folder.path(), &["txt2img", &"word ".repeat(77), "--model", "model", "--steps", "1"]);
    assert_eq!(long.status.code(), Some(0));
    let warning = "warning: the prompt is longer than 75 tokens and was cut before \"word word\"\n";
    assert_eq!(stderr(&long), warning);
}

#[test]
fn the_built_in_model_needs_no_files() {
    let folder = TempDir::new().unwrap();
    assert_eq!(done(&calotype(folder.path(), &["txt2img", "a cat", "--steps", "1"])), "outputs/00000.png\n");
    let output = calotype(folder.path(), &["models", "inspect", "--json"]);
    let inspection: Value = serde_json::from_str(done(&output)).unwrap();
    assert_eq!((inspection["layout"].as_str(), inspection["name"].as_str()), (Some("diffusers"), Some("emoji")));
    assert!(done(&calotype(folder.path(), &["models", "inspect"])).contains("built-in model emoji"));
}

#[test]
fn bench_reports_every_part() {
    let folder = workplace();
    let args = ["bench", "--model", "model", "--width", "32", "--height", "16"];
    let output = calotype(folder.path(), &[&args[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(done(&output)).unwrap();
    for key in ["text_encoder_seconds", "unet_step_seconds", "vae_decode_seconds"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(report["peak_memory_bytes"].is_null() || report["peak_memory_bytes"].as_u64() > Some(1 << 20));
    assert!(done(&calotype(folder.path(), &args)).contains("UNet step with guidance"));
    let wrong = calotype(folder.path(), &["bench", "--arch", "sd15", "--model", "model"]);
    refused(&wrong, 2, "the argument '--arch <NAME>' cannot be used with '--model <PATH>'");
    let size = calotype(folder.path(), &["bench", "--arch", "sd15", "--width", "100"]);
    refused(&size, 2, "width 100 is not a multiple of 8, which this model needs: give 96 or 104");
}

#[test]
fn bench_profiles_every_operation_of_the_built_in_model() {
    let folder = TempDir::new().unwrap();
    let args = ["bench", "--precision", "f32", "--profile", "--width", "64", "--height", "64", "--repeat", "2"];
    let output = calotype(folder.path(), &[&args[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(done(&output)).unwrap();
    let profile = &report["profile"];
    assert!(profile["peak_gflops"].as_f64() > Some(0.5));
    assert_eq!(profile["arithmetic"], "f32");
    for part in ["text_encoder", "unet_step", "vae_decode"] {
        let (part, seconds) = (&profile[part], &report[format!("{part}_seconds")]);
        assert_eq!(&part["total"]["seconds"], seconds);
        for rows in ["kinds", "blocks"] {
            let rows = part[rows].as_array().unwrap();
            let sum = |key: &str| rows.iter().map(|row| row[key].as_f64().unwrap()).sum::<f64>();
            assert_eq!(Some(sum("calls")), part["total"]["calls"].as_f64());
            assert_eq!(Some(sum("flops")), part["total"]["flops"].as_f64());
            assert!(sum("seconds") > 0.0 && sum("seconds") <= seconds.as_f64().unwrap());
            assert!(sum("share") <= 1.0);
        }
    }
    let unet = &profile["unet_step"];
    let names = |rows: &Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    for kind in ["conv 3x3", "conv 3x3 stride 2", "linear", "attention (self)", "attention (cross)", "group_norm"] {
        assert!(names(&unet["kinds"]).contains(&kind.to_owned()), "{kind}");
    }
    assert_eq!(names(&unet["blocks"]).last().unwrap(), "conv_out");
    assert!(names(&profile["vae_decode"]["blocks"]).contains(&"decoder.up_blocks.0".to_owned()));
    for list in ["unet_steps_seconds", "vae_decodes_seconds"] {
        assert_eq!(report[list].as_array().unwrap().len(), 2);
    }

    let text = calotype(folder.path(), &args);
    let text = done(&text);
    for title in ["peak of this machine", "UNet step, by kind", "UNet step, by block", "VAE decode, by block"] {
        assert_eq!(text.lines().filter(|line| line.starts_with(title)).count(), 1, "{title}");
    }
    let wrong = calotype(folder.path(), &["bench", "--repeat", "0"]);
    refused(&wrong, 2, "invalid value '0' for '--repeat <N>': expected a number from 1 to 1024");
}

#[test]
fn bench_times_one_network_or_training_steps() {
    let folder = workplace();
    for part in ["unet", "vae"] {
        let args = ["bench", "--model", "model", "--width", "32", "--height", "16", "--part", part];
        let report: Value =
            serde_json::from_str(done(&calotype(folder.path(), &[&args[..], &["--json"]].concat()))).unwrap();
        assert_eq!(report["runs_seconds"].as_array().unwrap().len(), 3);
        assert!(report["seconds"].as_f64().unwrap() > 0.0 && report["parameters"].as_u64() > Some(0));
        let served = served(folder.path(), &[&args[..], &["--serve"]].concat(), "\n\n");
        assert_eq!(served.len(), 3, "{served:?}");
        assert_eq!(served[0]["ready"]["parameters"], report["parameters"]);
        assert!(served[1..].iter().all(|line| line["seconds"].as_f64().unwrap() > 0.0));
    }
    fs::write(folder.path().join("small.toml"), SMALL_DIFFUSION).unwrap();
    let output = calotype(folder.path(), &["bench", "--train", "small.toml", "--json"]);
    let report: Value = serde_json::from_str(done(&output)).unwrap();
    assert_eq!((&report["latents"], &report["batch_size"]), (&serde_json::json!([4, 4, 4]), &serde_json::json!(2)));
    assert!(done(&calotype(folder.path(), &["bench", "--train", "small.toml"])).contains("training step  "));
    refused(
        &calotype(folder.path(), &["bench", "--serve"]),
        2,
        "--serve needs --part, --train or --train-sd15: give one of them",
    );
    let missing = calotype(folder.path(), &["bench", "--train", "no.toml"]);
    refused(&missing, 1, "no.toml: cannot read the config: No such file or directory (os error 2)");
}

/// A config that needs no file: its autoencoder is still to come.
const SMALL_DIFFUSION: &str = r#"
output = "run"
data = { folder = "pictures", size = 16 }
train = { batch_size = 2, steps = 1, learning_rate = 1e-3 }
[model]
autoencoder = "autoencoder"
block_out_channels = [8, 16]
layers_per_block = 1
attention_levels = [false, true]
attention_heads = 2
norm_num_groups = 4
text_encoder = { hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2 }
"#;

/// The JSON lines of a command that is given `lines` on stdin.
fn served(folder: &Path, args: &[&str], lines: &str) -> Vec<Value> {
    use std::io::Write;
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[cfg(unix)]
fn interrupt(child: &std::process::Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
fn wait_for(file: &Path) {
    let begin = Instant::now();
    // A folder always has a length; an empty file only says that something is about to begin.
    while file.metadata().map_or(0, |file| file.len()) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} does not appear", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_within_a_step_and_leaves_nothing_behind() {
    let folder = workplace();
    let args = ["txt2img", "a", "--model", "model", "--steps", "999", "--batch-size", "64", "--output", "out"];
    let child = command(folder.path(), &args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for(&folder.path().join("out"));
    interrupt(&child);
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!((output.status.code(), stderr(&output)), (Some(130), "interrupted: stopped by Ctrl-C\n"));
    assert!(files(&folder.path().join("out")).is_empty());

    // Between files: what is there is whole.
    let args = ["txt2img", "a", "--model", "model", "--steps", "1", "--batch-count", "1000000", "--output", "out"];
    let child = command(folder.path(), &args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&folder.path().join("out/00002.png"));
    interrupt(&child);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    for file in files(&folder.path().join("out")) {
        assert!(file.ends_with(".png"), "{file}");
        calotype_image::open(folder.path().join("out").join(file), &Default::default()).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn two_programs_share_a_folder() {
    let folder = workplace();
    let args = ["txt2img", "a", "--model", "model", "--steps", "1", "--batch-count", "20", "--output", "out"];
    let children = [0, 1].map(|_| command(folder.path(), &args).stdout(Stdio::null()).spawn().unwrap());
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(files(&folder.path().join("out")).len(), 40);
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic() {
    let folder = workplace();
    let args = ["txt2img", "a", "--model", "model", "--steps", "1", "--json"];
    let mut child = command(folder.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

/// Three lines and the model inside the program make a LoRA that pictures are made with.
#[test]
fn a_lora_of_the_model_inside_is_trained_and_used() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    let picture = calotype_image::encode_png(&calotype::RgbImage::filled(64, 64, [200, 100, 50]), &[]).unwrap();
    fs::write(folder.path().join("pictures/1.png"), picture).unwrap();
    fs::write(folder.path().join("pictures/1.txt"), "a cat").unwrap();
    let config = "output = \"ink\"\ndata.folder = \"pictures\"\ntrain.init_from = \"builtin\"\n";
    fs::write(folder.path().join("ink.toml"), config).unwrap();
    let set = ["train.steps=2", "train.batch_size=1", "train.learning_rate=0.05", "lora.text_encoder=false"];
    let set = set.iter().flat_map(|setting| ["--set", setting]);
    let args: Vec<&str> = ["train", "lora", "--config", "ink.toml"].into_iter().chain(set).collect();
    let output = calotype(folder.path(), &args);
    assert!(output.status.success() && stdout(&output).contains("LoRA: "), "{}", stderr(&output));
    let filled = stderr(&output).lines().find(|line| line.contains("not given, so as in the model")).unwrap();
    assert!(filled.contains("model.autoencoder = \"builtin\"") && filled.contains("train.ema_decay = 0.0"), "{filled}");
    assert!(!stderr(&output).contains("warning"), "{}", stderr(&output));
    let kept = fs::read_to_string(folder.path().join("ink/run.toml")).unwrap();
    assert!(kept.contains("[lora]\nrank = 16\n"), "{kept}");

    let draw = ["txt2img", "a cat", "--steps", "2", "--seed", "1", "--output"];
    done(&calotype(folder.path(), &[&draw[..], &["plain.png"]].concat()));
    done(&calotype(folder.path(), &[&draw[..], &["ink.png", "--lora", "ink/model/ink.safetensors"]].concat()));
    let pixels = |name: &str| calotype_image::open(folder.path().join(name), &Limits::default()).unwrap();
    assert!(pixels("plain.png") != pixels("ink.png"));
}

/// A run of the trainer: four pictures of 8 × 8 pixels, and more steps than anybody waits for.
#[cfg(unix)]
#[test]
fn training_is_stopped_and_goes_on() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    let mut captions = String::new();
    for n in 0..4u8 {
        let picture = calotype::RgbImage::filled(8, 8, [n * 60, 100, 200 - n * 40]);
        fs::write(folder.path().join(format!("pictures/{n}.png")), calotype_image::encode_png(&picture, &[]).unwrap())
            .unwrap();
        captions.push_str(&format!("{{\"file_name\": \"{n}.png\", \"text\": \"picture {n}\"}}\n"));
    }
    fs::write(folder.path().join("pictures/metadata.jsonl"), captions).unwrap();
    let config = |steps: usize| {
        format!(
            "output = \"run\"\n[data]\nfolder = \"pictures\"\nsize = 8\n\
             [model]\nblock_out_channels = [4, 8]\nnorm_num_groups = 2\n\
             [train]\nbatch_size = 2\nsteps = {steps}\nlearning_rate = 0.001\n\
             [report]\nsample_every = 0\nevaluate_every = 0\n"
        )
    };
    fs::write(folder.path().join("run.toml"), config(1_000_000)).unwrap();
    let args = ["train", "autoencoder", "--config", "run.toml", "--threads", "1"];
    let child = command(folder.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&folder.path().join("run/metrics.jsonl"));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let last = stderr(&output).lines().last().unwrap_or_default();
    let go_on = "go on with: calotype train autoencoder --config run.toml --threads 1 --resume";
    assert!(last.starts_with("interrupted: at step ") && last.ends_with(go_on), "{last}");
    assert!(folder.path().join("run/checkpoint.safetensors").exists());

    let step = last.split_whitespace().nth(3).unwrap().parse::<usize>().unwrap();
    fs::write(folder.path().join("run.toml"), config(step + 2)).unwrap();
    let output = calotype(folder.path(), &[&args[..], &["--resume"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with(&format!("{} steps, ", step + 2)), "{}", stdout(&output));
    assert!(folder.path().join("run/model/vae/config.json").exists());
    // Without a terminal lines say how far it is, the first and the last always.
    let said: Vec<&str> = stderr(&output).lines().collect();
    assert!(said[0].starts_with("warning: this model will be a diffusers folder and can't be converted"), "{said:?}");
    assert_eq!(said[1], "training: pictures read: 4 of 4");
    for (line, step) in [(said[2], step + 1), (said[3], step + 2)] {
        assert!(line.starts_with(&format!("training: step {step} of ")) && line.contains(", loss "), "{said:?}");
    }
    assert_eq!(said.len(), 4, "{said:?}");

    // A template is a config: what it needs is set.
    let template = calotype(folder.path(), &["train", "init", "autoencoder"]);
    fs::write(folder.path().join("all.toml"), done(&template)).unwrap();
    let set = ["output=all", "data.size=8", "model.block_out_channels=[16, 16]", "train.batch_size=2", "train.steps=1"];
    let set = set.iter().flat_map(|setting| ["--set", setting]);
    let all: Vec<&str> = ["train", "autoencoder", "--config", "all.toml", "--quiet"].into_iter().chain(set).collect();
    assert_eq!(calotype(folder.path(), &all).status.code(), Some(0));
    assert!(folder.path().join("all/model/vae/config.json").exists());

    // What can't be read is listed and refused, or left out.
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    fs::write(folder.path().join("run.toml"), config(1)).unwrap();
    fs::write(folder.path().join("pictures/1.png"), "no picture").unwrap();
    fs::remove_file(folder.path().join("pictures/2.png")).unwrap();
    let output = calotype(folder.path(), &args);
    let said: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!((output.status.code(), said.len()), (Some(1), 5), "{said:?}");
    assert!(said[2].starts_with("warning: this picture can't be used: pictures/1.png: not a PNG, JPEG, "), "{said:?}");
    assert!(said[3].starts_with("warning: this picture can't be used: pictures/2.png: cannot be read: "), "{said:?}");
    let refused = "error: pictures: 2 of 4 pictures can't be used, as listed; the first is pictures/1.png: not a PNG, ";
    assert!(said[4].starts_with(refused), "{said:?}");
    assert!(!folder.path().join("run").exists(), "a refused start leaves nothing behind");
    let output = calotype(folder.path(), &[&args[..], &["--skip-bad"]].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("warning: this picture is left out: pictures/2.png: cannot be read: "), "{said}");
    assert!(said.contains("warning: this picture is left out: pictures/1.png: not a PNG, JPEG, "), "{said}");
}
