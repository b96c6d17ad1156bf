//! The commands that make pictures from pictures, from outside.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use calotype_image::{Limits, RgbImage, decode, encode_png, read_png_text};
use tempfile::TempDir;

use crate::models::{Sizes, values};

/// A folder with a small model in `model`, a picture `init.png` and a mask `mask.png`, and both of a size that is no whole
/// number of latents.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(&folder.path().join("model"));
    let (width, height) = (32, 24);
    let data = values("picture", width * height * 3).iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
    write(&folder.path().join("init.png"), &RgbImage::new(width as u32, height as u32, data).unwrap());
    let mask = (0..width * height).flat_map(|n| [if n % width < 12 { 255 } else { 0 }; 3]).collect();
    write(&folder.path().join("mask.png"), &RgbImage::new(width as u32, height as u32, mask).unwrap());
    let odd = |name: &str| picture(folder.path(), name).crop(0, 0, 31, 22);
    write(&folder.path().join("odd.png"), &odd("init.png"));
    write(&folder.path().join("odd-mask.png"), &odd("mask.png"));
    folder
}

fn write(file: &Path, picture: &RgbImage) {
    fs::write(file, encode_png(picture, &[]).unwrap()).unwrap();
}

fn command(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args.split_whitespace()).stdin(Stdio::null());
    command
}

/// It worked, and this is what it printed.
fn done(folder: &Path, args: &str) -> String {
    let output = command(folder, args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!((output.status.code(), crate::notes::without(&text(&output.stderr))), (Some(0), ""), "{args}");
    text(&output.stdout)
}

/// It failed with the exit status and the line `error: message`.
fn refused(output: &Output, status: i32, message: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), text.lines().next()), (Some(status), Some(format!("error: {message}").as_str())));
    assert!(output.stdout.is_empty());
}

fn picture(folder: &Path, name: &str) -> RgbImage {
    decode(&fs::read(folder.join(name)).unwrap(), &Limits::default()).unwrap()
}

#[test]
fn pictures_of_every_mode_are_remade_byte_for_byte() {
    let folder = workplace();
    let folder = folder.path();
    done(folder, "txt2img noise --model model --steps 2 --save-latents l.safetensors --batch-size 2 --output two");
    let rest = "--model model --steps 3 --output made.png";
    for (args, size) in [
        ("txt2img tree --seed 9 --precision f32 --sampler euler_a", (32, 32)),
        ("txt2img tree --tiling --width 16", (16, 32)),
        ("txt2img tree --tiling=y", (32, 32)),
        ("txt2img tree --hires-scale 1.5 --hires-upscaler lanczos --hires-steps 4", (48, 48)),
        ("txt2img tree --hires-size 40x36 --hires-upscaler latent-nearest --hires-strength 0.5", (40, 36)),
        ("img2img tree --init-img init.png --strength 1", (32, 24)),
        ("img2img tree --init-img init.png --width 36 --height 36 --resize-mode latent", (36, 36)),
        ("inpaint tree --init-img init.png --mask mask.png --mask-blur 0 --invert-mask --fill latent-noise", (32, 24)),
        ("inpaint tree --init-img init.png --mask mask.png --inpaint-area masked --padding 2", (32, 24)),
        ("outpaint tree --init-img init.png --left 6 --top 3", (38, 27)),
        ("img2img tree --init-img odd.png --strength 0.5", (31, 22)),
        ("inpaint tree --init-img odd.png --mask odd-mask.png --mask-blur 1", (31, 22)),
    ] {
        assert_eq!(done(folder, &format!("{args} {rest}")), "made.png\n");
        assert_eq!(done(folder, "remake made.png --model model --output again.png"), "again.png\n");
        assert!(fs::read(folder.join("made.png")).unwrap() == fs::read(folder.join("again.png")).unwrap(), "{args}");
        let made = picture(folder, "made.png");
        assert_eq!((made.width(), made.height()), size, "{args}");
    }
    done(folder, "txt2img tree --model model --steps 2 --latents l.safetensors --output more");
    done(folder, "remake more/00001.png --model model --output again.png");
    assert!(fs::read(folder.join("more/00001.png")).unwrap() == fs::read(folder.join("again.png")).unwrap());
}

#[test]
fn what_is_not_the_same_is_not_remade() {
    let folder = workplace();
    let folder = folder.path();
    let remake = |args: &str| command(folder, &format!("remake {args} --output again.png")).output().unwrap();
    done(folder, "img2img tree --model model --steps 2 --init-img init.png --output made.png");
    let other = remake("made.png");
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(text.starts_with("error: made.png: made with model \"model\" (") && text.contains("--model"), "{text}");
    assert_eq!((other.status.code(), text.lines().count()), (Some(1), 1));
    fs::copy(folder.join("mask.png"), folder.join("init.png")).unwrap();
    let changed = String::from_utf8_lossy(&remake("made.png --model model").stderr).into_owned();
    assert!(changed.starts_with("error: init.png: its SHA-256 begins ") && changed.lines().count() == 1, "{changed}");
    refused(&remake("init.png --model model"), 1, "init.png: the file does not say how the picture was made");
    fs::write(folder.join("x.png"), "no picture").unwrap();
    refused(&remake("x.png"), 1, "x.png: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these");
    assert!(!folder.join("again.png").exists());
}

/// The same bytes, wherever the pictures that it began with and the model are now.
#[test]
fn what_was_moved_is_remade() {
    let folder = workplace();
    let folder = folder.path();
    let args = "--init-img init.png --mask mask.png --model model --steps 2 --output made.png";
    done(folder, &format!("inpaint tree {args}"));
    for (old, new) in [("init.png", "first.png"), ("mask.png", "where.png"), ("model", "renamed")] {
        fs::rename(folder.join(old), folder.join(new)).unwrap();
    }
    let lost = command(folder, "remake made.png --model renamed").output().unwrap();
    let message =
        "init.png: cannot be read: No such file or directory (os error 2); if it was moved, give it by --picture";
    refused(&lost, 1, message);
    done(folder, "remake made.png --model renamed --picture where.png --picture first.png --output again.png");
    assert!(fs::read(folder.join("made.png")).unwrap() == fs::read(folder.join("again.png")).unwrap());
}

/// A1111 writes its text into the comment of other files than PNG.
#[test]
fn the_comment_of_a_webp_is_read() {
    let folder = workplace();
    let folder = folder.path();
    let text =
        "a (tree:1.2)\nSteps: 2, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 24x32, Model: model, Version: v1.9.0";
    let comment: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let entry = |tag: u16, kind: u16, count: usize, value: u32| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &(count as u32).to_be_bytes(), &value.to_be_bytes()].concat()
    };
    let directory = |entry: Vec<u8>| [&[0, 1], &entry[..], &[0; 4]].concat();
    let (first, second) = (entry(0x8769, 4, 1, 26), entry(0x9286, 7, 8 + comment.len(), 44));
    let exif =
        [b"MM\0*\0\0\0\x08".to_vec(), directory(first), directory(second), b"UNICODE\0".to_vec(), comment].concat();
    // One dark pixel.
    let pixel = [0x2f, 0, 0, 0, 0, 7, 0xd0, 0x84, 0x26, 0x34, 0xa1, 0xff, 0x81, 0x88, 0xe8, 0x7f, 0];
    let chunk = |kind: &[u8], data: &[u8]| {
        let padding = if data.len().is_multiple_of(2) { &[][..] } else { &[0] };
        [kind, &(data.len() as u32).to_le_bytes(), data, padding].concat()
    };
    let header = chunk(b"VP8X", &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let chunks = [b"WEBP".to_vec(), header, chunk(b"VP8L", &pixel), chunk(b"EXIF", &exif)].concat();
    fs::write(folder.join("theirs.webp"), chunk(b"RIFF", &chunks)).unwrap();
    done(folder, "remake theirs.webp --model model --output ours.png");
    let ours = read_png_text(&fs::read(folder.join("ours.png")).unwrap()).unwrap();
    assert!(ours[0].1.starts_with("a (tree:1.2)\nSteps: 2, Sampler: Euler a"), "{}", ours[0].1);
    assert!(ours[0].1.contains("Seed: 5, Size: 24x32") && ours[0].1.contains("Prompt style: a1111"));
}

#[test]
fn a_strangers_picture_is_remade_as_far_as_it_goes() {
    let folder = workplace();
    let folder = folder.path();
    let text = "a tree\nNegative prompt: blurry\nSteps: 3, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 24x32, \
        Model hash: 0123456789, Model: other, Face restoration: GFPGAN, Version: v1.9.0";
    let picture = RgbImage::filled(8, 8, [0; 3]);
    fs::write(folder.join("theirs.png"), encode_png(&picture, &[("parameters", text)]).unwrap()).unwrap();
    let output = command(folder, "remake theirs.png --model model --output ours.png").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let warnings = "warning: not honoured: Face restoration: GFPGAN\n\
        warning: made with model other (0123456789), not with model\n";
    assert_eq!((output.status.code(), crate::notes::without(&said)), (Some(0), warnings));
    let ours = read_png_text(&fs::read(folder.join("ours.png")).unwrap()).unwrap();
    assert!(ours[0].1.contains("Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 5, Size: 24x32"));
}

#[test]
fn prompts_come_from_a_file() {
    let folder = workplace();
    let folder = folder.path();
    fs::write(folder.join("prompts.txt"), "a tree\na \"house\", red\n\nthe last\n\n").unwrap();
    let args = "txt2img --from-file prompts.txt --model model --steps 1 --batch-count 2 --output lines --seed 3";
    assert_eq!(done(folder, args).lines().count(), 8);
    let text = |n: usize| {
        let texts = read_png_text(&fs::read(folder.join(format!("lines/{n:05}.png"))).unwrap()).unwrap();
        let prompt = texts[0].1.lines().next().unwrap().to_owned();
        assert!(texts[0].1.contains(&format!("Seed: {},", 3 + n)));
        prompt
    };
    let prompts: Vec<String> = (0..8).map(text).collect();
    assert_eq!(prompts, ["a tree", "a tree", "a \"house\", red", "a \"house\", red", "", "", "the last", "the last"]);

    let mut stdin = command(folder, "txt2img --from-file - --model model --steps 1 --output one.png --quiet");
    let mut child = stdin.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a tree\r\n").unwrap();
    assert!(child.wait().unwrap().success() && folder.join("one.png").exists());

    fs::write(folder.join("none.txt"), "\n\n").unwrap();
    let none = command(folder, "txt2img --from-file none.txt --model model").output().unwrap();
    refused(&none, 2, "none.txt: there are no prompts: write one on each line");
}

/// As A1111's script "Prompts from file or textbox", and its styles.
#[test]
fn lines_have_options_of_their_own() {
    let folder = workplace();
    let folder = folder.path();
    let lines = "\u{feff}a tree\r\n\r\n# a comment\r\n--prompt a red house --negative_prompt \"ugly, grey\" --seed 90 --n_iter 2\r\n\
        --prompt two --batch_size 2 --width 24 --steps 2 --cfg_scale 3.5 --sampler_name \"Euler a\"\r\nlast";
    fs::write(folder.join("lines.txt"), lines).unwrap();
    fs::write(folder.join("styles.csv"), "name,prompt,negative_prompt\nink,\"ink, {prompt}\",photo\n").unwrap();
    let args = "txt2img --from-file lines.txt --prompt-style a1111 --model model --steps 1 --seed 7";
    done(folder, &format!("{args} --style ink --output lines"));
    let text = |folder: &Path, name: &str| read_png_text(&fs::read(folder.join(name)).unwrap()).unwrap()[0].1.clone();
    for (n, prompt, negative, settings) in [
        (0, "ink, a tree", "photo", "Steps: 1, Sampler: DDIM, CFG scale: 7.5, Seed: 7, Size: 32x32"),
        (1, "ink, a red house", "ugly, grey, photo", "Steps: 1, Sampler: DDIM, CFG scale: 7.5, Seed: 90, Size: 32x32"),
        (2, "ink, a red house", "ugly, grey, photo", "Steps: 1, Sampler: DDIM, CFG scale: 7.5, Seed: 91, Size: 32x32"),
        (3, "ink, two", "photo", "Steps: 2, Sampler: Euler a, CFG scale: 3.5, Seed: 10, Size: 24x32"),
        (4, "ink, two", "photo", "Steps: 2, Sampler: Euler a, CFG scale: 3.5, Seed: 11, Size: 24x32"),
        (5, "ink, last", "photo", "Steps: 1, Sampler: DDIM, CFG scale: 7.5, Seed: 12, Size: 32x32"),
    ] {
        let expected = format!("{prompt}\nNegative prompt: {negative}\n{settings},");
        let text = text(folder, &format!("lines/{n:05}.png"));
        assert!(text.starts_with(&expected), "{n}: {text}");
    }
    assert!(!folder.join("lines/00006.png").exists());
    // Each is the picture that it is alone.
    done(folder, "remake lines/00004.png --model model --output again.png");
    assert!(fs::read(folder.join("lines/00004.png")).unwrap() == fs::read(folder.join("again.png")).unwrap());

    let wrong = |args: &str, message: &str| refused(&command(folder, args).output().unwrap(), 2, message);
    wrong(&format!("{args} --grid"), "--grid needs pictures of one size: give --width and --height");
    let stream = "lines.txt: line 4 has a seed, a batch size or a count of its own, which goes neither with --seed-per batch nor with --fixed-code";
    wrong(&format!("{args} --seed-per batch"), stream);
    wrong(&format!("{args} --style oil"), "there is no style \"oil\" among the 1 of styles.csv");
    fs::write(folder.join("bad.txt"), "a\n--prompt b --restore_faces true\n").unwrap();
    let option = "bad.txt: line 2: --restore_faces: a line has no such option: give it for all of them";
    wrong("txt2img --from-file bad.txt --model model", option);
    fs::write(folder.join("late.txt"), "a\nb\n--prompt c --width 33").unwrap();
    wrong(
        "txt2img --from-file late.txt --model model --steps 1 --output late",
        "late.txt: line 3: width 33 is not a multiple of 4, which this model needs: give 32 or 36",
    );
    let of_all = "width 33 is not a multiple of 4, which this model needs: give 32 or 36";
    wrong("txt2img --from-file lines.txt --prompt-style a1111 --width 33 --model model", of_all);
    fs::write(folder.join("tags.txt"), "a\n\n--prompt b <lora:none:1>\n--prompt (c --style oil").unwrap();
    let style = "tags.txt: line 4: there is no style \"oil\" among the 1 of styles.csv";
    wrong("txt2img --from-file tags.txt --model model --output late", style);
    fs::write(folder.join("tags.txt"), "a\n\n--prompt b <lora:none:1>").unwrap();
    let lora = "tags.txt: line 3: the LoRA \"none\" can't be looked up: give the folder that it is in";
    let output =
        command(folder, "txt2img --from-file tags.txt --model model --steps 1 --output tags").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let said = crate::notes::without(&said);
    assert_eq!((output.status.code(), said.lines().next()), (Some(2), Some(format!("error: {lora}").as_str())));
    fs::write(folder.join("grammar.txt"), "a\n# b\n\n(c:1.2.3)").unwrap();
    let output = command(folder, "txt2img --from-file grammar.txt --prompt-style a1111 --model model --output late")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: grammar.txt: line 4: ") && said.lines().count() == 1, "{said}");
    assert!(!folder.join("late").exists(), "nothing is made before all is checked");
}

#[test]
fn a_folder_of_pictures_is_worked_through() {
    let folder = workplace();
    let folder = folder.path();
    fs::create_dir(folder.join("many")).unwrap();
    fs::copy(folder.join("init.png"), folder.join("many/b.png")).unwrap();
    write(&folder.join("many/a.PNG"), &RgbImage::filled(24, 20, [90; 3]));
    fs::write(folder.join("many/notes.txt"), "no picture").unwrap();
    let made = done(folder, "img2img tree --init-img many --model model --steps 2 --batch-count 2 --output out");
    assert_eq!(made.lines().count(), 4);
    let size = |n: usize| {
        let picture = picture(folder, &format!("out/{n:05}.png"));
        (picture.width(), picture.height())
    };
    assert_eq!([0, 1, 2, 3].map(size), [(24, 20), (24, 20), (32, 24), (32, 24)]);
    done(folder, "img2img tree --init-img init.png --model model --steps 2 --seed 44 --output one.png");
    assert!(picture(folder, "one.png") == picture(folder, "out/00002.png"));
    fs::write(folder.join("many/c.jpg"), "no picture").unwrap();
    let broken = command(folder, "img2img tree --init-img many --model model --output more").output().unwrap();
    refused(&broken, 1, "many/c.jpg: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these");
    assert!(!folder.join("more").exists());
    fs::create_dir(folder.join("none")).unwrap();
    let none = command(folder, "img2img tree --init-img none --model model").output().unwrap();
    refused(&none, 2, "none: there are no pictures in it (PNG, JPEG, WebP, GIF, BMP, TIFF)");
}

#[test]
fn any_seed_is_another_one_each_time() {
    let folder = workplace();
    let folder = folder.path();
    let seed = || {
        let said = done(folder, "txt2img tree --model model --steps 1 --seed -1 --json --output one.png");
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["seed"].as_u64().unwrap()
    };
    let seeds = [seed(), seed(), seed()];
    assert!(seeds[0] != seeds[1] || seeds[1] != seeds[2], "{seeds:?}");
    assert!(seeds.iter().all(|&seed| seed < 1 << 32));
    for (args, message) in [
        ("--seed -2", "invalid value '-2' for '--seed <N>': expected a whole number, or -1 for any"),
        ("--width -8", "invalid value '-8' for '--width <PIXELS>': invalid digit found in string"),
    ] {
        refused(&command(folder, &format!("txt2img tree {args}")).output().unwrap(), 2, message);
    }
}

#[test]
fn grids_lie_beside_their_pictures() {
    let folder = workplace();
    let folder = folder.path();
    let args = "txt2img tree --model model --steps 1 --batch-size 2 --batch-count 2 --grid --output many";
    assert_eq!(done(folder, args).lines().last(), Some("many/grid-0000.png"));
    let grid = picture(folder, "many/grid-0000.png");
    assert_eq!((grid.width(), grid.height()), (2 * 34 + 2, 2 * 34 + 2));
    assert_eq!(done(folder, &format!("{args} --n-rows 3")).lines().last(), Some("many/grid-0001.png"));
    let grid = picture(folder, "many/grid-0001.png");
    assert_eq!((grid.width(), grid.height()), (3 * 34 + 2, 2 * 34 + 2));
    assert_eq!(grid.crop(2, 2, 32, 32), picture(folder, "many/00004.png"));
    // Of one picture it is that picture, as torchvision's.
    done(folder, "txt2img tree --model model --steps 1 --grid --output one/");
    assert_eq!(picture(folder, "one/grid-0000.png"), picture(folder, "one/00000.png"));
    let file = command(folder, "txt2img tree --model model --grid --output one.png").output().unwrap();
    refused(&file, 2, "--grid lies beside its pictures: give a folder for --output");
    // CompVis' width of a grid that is not wanted.
    done(folder, "txt2img tree --model model --steps 1 --n_rows 2 --skip_grid --outdir none");
    assert!(!folder.join("none/grid-0000.png").exists());
}

#[test]
fn options_of_compvis_scripts_are_understood() {
    let folder = workplace();
    let folder = folder.path();
    let theirs = "txt2img --prompt tree --ckpt model --ddim_steps 2 --scale 5 --H 24 --W 32 --n_samples 2 --n_iter 1 \
        --plms --seed 42 --skip_grid --outdir theirs";
    let ours = "txt2img tree --model model --steps 2 --guidance-scale 5 --height 24 --width 32 --batch-size 2 \
        --sampler plms --output ours";
    done(folder, theirs);
    done(folder, ours);
    for name in ["00000.png", "00001.png"] {
        assert!(
            fs::read(folder.join("theirs").join(name)).unwrap() == fs::read(folder.join("ours").join(name)).unwrap()
        );
    }
    // A folder even for one picture.
    assert_eq!(done(folder, "txt2img tree --ckpt model --ddim_steps 1 --outdir one"), "one/00000.png\n");
}

/// What is meant and not done is said once, and the picture is made.
#[test]
fn hints_are_given() {
    let folder = workplace();
    let folder = folder.path();
    fs::write(folder.join("lines.txt"), "a\n(cat:1.3)\n(dog:1.3)").unwrap();
    let rest = "--model model --steps 1 --quiet --output made/";
    let text = "hint: \"(cat:1.3)\" is only text in plain prompts: --prompt-style a1111 reads weights and the rest of A1111's grammar\n";
    for (args, said) in [
        ("txt2img (cat:1.3)", text),
        ("txt2img --from-file lines.txt", text),
        ("txt2img (cat:1.3) --prompt-style a1111", ""),
        (
            "txt2img (cat:1,3) --prompt-style a1111",
            "hint: \"(cat:1,3)\" is no weight but text: a decimal has a point\n",
        ),
    ] {
        let output = command(folder, &format!("{args} {rest}")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), crate::notes::without(&stderr)), (Some(0), said), "{args}");
    }
    let hinted = |args: &str, lines: &[&str]| {
        let output = command(folder, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().collect::<Vec<_>>().as_slice()), (Some(2), lines));
    };
    hinted(
        "txt2img tree --strength 0.5",
        &["error: txt2img has no --strength: it is one of img2img, inpaint, outpaint and remake"],
    );
    hinted(
        "txt2img tree --guidance-scale 7,5",
        &[
            "error: invalid value '7,5' for '--guidance-scale <X>': invalid float literal",
            "hint: a decimal has a point: 7.5",
        ],
    );
}

#[test]
fn wrong_use_is_one_line() {
    let folder = workplace();
    let folder = folder.path();
    let wrong = |args: &str, status: i32, message: &str| {
        refused(&command(folder, &format!("{args} --model model --steps 4")).output().unwrap(), status, message);
    };
    wrong("img2img tree", 2, "the following required arguments were not provided: --init-img <FILE>");
    let nowhere = "nowhere.png: cannot be read: No such file or directory (os error 2)";
    wrong("img2img tree --init-img nowhere.png", 1, nowhere);
    let strength = "strength is 2: give a number from 0 (keep the picture) to 1 (start from noise alone)";
    wrong("img2img tree --init-img init.png --strength 2", 2, strength);
    let steps = "strength 0.1 leaves none of 4 steps: give a strength of 0.25 or more, or more steps";
    wrong("img2img tree --init-img init.png --strength 0.1", 2, steps);
    let sides = "no side is to grow: give the pixels for at least one of left, right, top and bottom";
    wrong("outpaint tree --init-img init.png", 2, sides);
    let file = "model/model_index.json: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these";
    wrong("img2img tree --init-img model/model_index.json", 1, file);
}
