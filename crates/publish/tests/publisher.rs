//! What every image goes through: refused, judged, marked, recorded.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/classifier.rs"]
mod classifier;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use calotype::{
    CpuDevice, CpuDeviceOptions, Request, RgbImage,
    adapters::{AdapterFile, LoraOptions},
    metadata::{Metadata, WatermarkMetadata},
    request::{Init, InputImage},
};
use calotype_image::{FileFormat, Limits, decode, encode_png};
use calotype_publish::{
    Decision, Entry, Error, FileOptions, HeldImage, Made, Note, Options, Origin, Policy, Publisher, Rules, Severity,
    blurred, policy, wanted_as_made,
};
use calotype_safety::{
    audit::{Query, search, verify},
    policy::Action,
    review::{find, make_folder},
    watermark::{Wanted, id_of},
};
use classifier::classifier;
use serde_json::{Value, json};

const _: fn() = || {
    fn is_for_threads<T: Send + Sync>() {}
    is_for_threads::<Publisher>();
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> Option<PathBuf> {
        Some(self.path("log"))
    }

    /// A policy that does `action` with every image, or only labels it, with a classifier that finds something in all or none.
    fn policy(&self, action: &str, finds: bool, first_line: &str) -> Option<Policy> {
        classifier(&self.path("vit"), if finds { 5.0 } else { -5.0 });
        let threshold = if action == "label" { "flag" } else { "block" };
        let text = format!(
            "{first_line}\n[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\n{threshold} = 0.9\naction = \"{action}\"\n"
        );
        fs::write(self.path("policy.toml"), text).unwrap();
        policy(self.path("policy.toml").to_str().unwrap(), None, None).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn open(options: Options) -> Publisher {
    try_open(options).unwrap()
}

fn try_open(options: Options) -> Result<Publisher, Error> {
    Publisher::open(options, &CpuDevice::new(CpuDeviceOptions::default()).unwrap())
}

fn origin() -> Origin {
    let text = |text: &str| Some(text.to_owned());
    Origin { who: text("ada"), key_id: text("k-1"), request_id: text("r-1"), job_id: text("j-1") }
}

fn picture(side: u32) -> RgbImage {
    let data = (0..side * side).flat_map(|i| [(i % side) as u8 / 2 + 40, (i / side) as u8 / 3 + 60, 120]).collect();
    RgbImage::new(side, side, data).unwrap()
}

fn metadata() -> Metadata {
    let request = Request { seed: 7, negative_prompt: "a cat".into(), ..Request::new("a fox") };
    Metadata { request, model_hash: "ab".repeat(32), ..Metadata::default() }
}

fn ids_of(line: &Value) -> [&Value; 4] {
    ["who", "key_id", "request_id", "job_id"].map(|name| &line[name])
}

#[test]
fn refused_prompts_and_names_are_in_the_log() {
    let folder = Folder::new();
    let rules = Rules::parse(
        "[[deny]]\nid = \"r-7\"\nword = \"fox\"\nreason = \"an example\"\n[[deny]]\nid = \"r-8\"\nword = \"hidden\"\nin = [\"name\"]\n",
    )
    .unwrap();
    let hash = rules.hash().to_owned();
    let publisher = open(Options { rules: Some(rules), audit: folder.log(), hash_prompts: true, ..Options::default() });
    publisher.check_prompts(&Request::new("a dog"), &origin()).unwrap();
    let error = publisher.check_prompts(&metadata().request, &origin()).unwrap_err();
    assert!(matches!(&error, Error::Refused { rule, .. } if rule == "r-7"));
    assert_eq!(error.to_string(), "the prompt is refused by the rule \"r-7\" (an example)");
    let mut named = Request::new("a dog");
    let file = AdapterFile::Name("hidden".into());
    named.adapters.loras = vec![LoraOptions { file, text_encoder: 1.0, unet: 1.0, ranks: None }];
    let error = publisher.check_prompts(&named, &Origin::default()).unwrap_err();
    assert_eq!(error.to_string(), "the prompt is refused by the rule \"r-8\"");
    let lines = folder.lines();
    assert_eq!((lines.len(), &lines[0]["kind"], &lines[0]["rules"]), (2, &json!("refused"), &json!(["r-7"])));
    assert_eq!((&lines[0]["rules_sha256"], &lines[0]["seed"]), (&json!(hash), &json!(7)));
    assert_eq!(lines[0]["prompt"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(ids_of(&lines[0]), [&json!("ada"), &json!("k-1"), &json!("r-1"), &json!("j-1")]);
    // What is not known is not said.
    assert_eq!(ids_of(&lines[1]), [&Value::Null; 4]);
}

#[test]
fn images_are_given_as_the_policy_says() {
    let image = picture(32);
    for (action, finds, expected, said, hides, holds) in [
        ("label", false, Action::Allow, None, false, false),
        ("label", true, Action::Label, Some("flagged"), false, false),
        ("blur", true, Action::Blur, Some("blurred"), true, false),
        ("hold", true, Action::Hold, Some("held"), true, true),
        ("hold", false, Action::Allow, None, true, true),
        ("block", true, Action::Block, Some("blocked"), true, false),
    ] {
        let folder = Folder::new();
        let policy = folder.policy(action, finds, "");
        let publisher = open(Options { policy, audit: folder.log(), says_scores: finds, ..Options::default() });
        assert_eq!((publisher.hides_images(), publisher.holds_images()), (hides, holds), "{action}");
        let mut metadata = metadata();
        let judged = publisher.judge(image.clone(), &mut metadata, &origin()).unwrap();
        let verdict = judged.verdict.unwrap();
        assert_eq!(verdict.action, expected);
        assert_eq!(metadata.safety, finds.then(|| verdict.to_json()), "{action}");
        let shown = match expected {
            Action::Allow | Action::Label => Some(image.clone()),
            Action::Blur | Action::Hold => Some(blurred(&image)),
            Action::Block => None,
        };
        assert!(judged.shown == shown && judged.held == (expected == Action::Hold).then(|| image.clone()), "{action}");
        let said =
            said.map(|said| format!("the image of seed 7 is {said} by the policy: vit nsfw 0.99 (from 0.90 on)"));
        assert_eq!(judged.notes.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::from_iter(said));
        assert!(judged.notes.iter().all(|note| note.severity() == Severity::Warning));
        let lines = folder.lines();
        match expected {
            Action::Block => {
                assert_eq!((&lines[0]["kind"], &lines[0]["verdict"]), (&json!("refused"), &json!("block")));
                assert_eq!((&lines[0]["scores"][1]["name"], ids_of(&lines[0])[3]), (&json!("nsfw"), &json!("j-1")));
            }
            _ => assert_eq!(lines.len(), 0, "{action}"),
        }
    }
    // Without a policy nothing is known of an image.
    let judged = open(Options::default()).judge(image.clone(), &mut metadata(), &origin()).unwrap();
    assert_eq!((judged.shown, judged.held, judged.verdict), (Some(image), None, None));
}

#[test]
fn images_to_start_from_are_judged_too() {
    let folder = Folder::new();
    let mut request = metadata().request;
    fs::write(folder.path("a.png"), encode_png(&picture(32), &[]).unwrap()).unwrap();
    let file = InputImage::open(folder.path("a.png")).unwrap();
    let name = file.reference().file.clone();
    request.init = Some(Init::new(file));
    let check = |action: &str, finds: bool, request: &Request| {
        let options = Options { policy: folder.policy(action, finds, ""), audit: folder.log(), ..Options::default() };
        open(options).check_init(request, &origin())
    };
    assert_eq!(check("block", false, &request).unwrap(), None);
    assert_eq!(check("block", true, &metadata().request).unwrap(), None);
    let note = check("label", true, &request).unwrap().unwrap();
    assert_eq!(note.to_string(), format!("{name}: flagged by the policy: vit nsfw 0.99 (from 0.90 on)"));
    assert!(folder.lines().is_empty());
    for action in ["blur", "hold", "block"] {
        let error = check(action, true, &request).unwrap_err();
        let expected = format!("{name}: not taken, by the policy: vit nsfw 0.99 (from 0.90 on)");
        assert!(matches!(error, Error::InitRefused { .. }) && error.to_string() == expected, "{error}");
    }
    // One that has no file is told by what it is.
    request.init = Some(Init::new(picture(32).into()));
    let error = check("block", true, &request).unwrap_err();
    assert!(error.to_string().starts_with("the image to start from: not taken, by the policy"), "{error}");
    let lines = folder.lines();
    assert_eq!((lines.len(), &lines[0]["reason"]), (4, &json!("the image to start from")));
    let Query::Image { file_sha256, .. } = Query::image(&fs::read(folder.path("a.png")).unwrap()) else {
        unreachable!()
    };
    assert_eq!((&lines[0]["file_sha256"], ids_of(&lines[0])[1]), (&json!(file_sha256), &json!("k-1")));
}

#[test]
fn images_have_the_mark_that_they_must_have() {
    let id = format!("{:016x}", id_of(&picture(128)));
    let png = FileOptions::new(FileFormat::Png);
    let poor = FileOptions { quality: 1, ..FileOptions::new(FileFormat::Jpeg) };
    let folder = Folder::new();
    let by_policy =
        || Options { policy: folder.policy("block", false, "watermark = \"required\""), ..Options::default() };
    let by_option = || Options { requires_watermark: true, ..Options::default() };
    for (options, is_required) in [(Options::default(), false), (by_option(), true), (by_policy(), true)] {
        let publisher = open(options);
        let mut said = metadata();
        let (file, notes) = publisher.file(&picture(128), &mut said, &png).unwrap();
        assert_eq!((said.watermark.unwrap().id.as_deref(), notes), (Some(id.as_str()), vec![]));
        let json = calotype::metadata::read(&file).unwrap().metadata;
        assert_eq!(json.watermark.unwrap().id.as_deref(), Some(id.as_str()));
        assert_eq!(publisher.check_size([64, 64]).is_err(), is_required);
        publisher.check_size([128, 128]).unwrap();

        let small = "images of 64 x 64 have no watermark: they are too small for one, which takes 96 x 96 pixels";
        let lost = "no watermark can be read back from the file of the image of seed 7, so it has none";
        for (side, options, problem, severity) in
            [(64, &png, small, Severity::Note), (128, &poor, lost, Severity::Warning)]
        {
            let mut said = Metadata { watermark: Some(WatermarkMetadata::default()), ..metadata() };
            match publisher.file(&picture(side), &mut said, options) {
                Ok((_, notes)) => {
                    assert!(!is_required && said.watermark.is_none());
                    assert_eq!(
                        (notes[0].to_string().as_str(), notes[0].severity(), notes.len()),
                        (problem, severity, 1)
                    );
                    assert!(publisher.grid_file(&picture(side), &mut said, options).unwrap().1 == notes);
                }
                Err(error) => {
                    assert!(is_required && matches!(error, Error::WatermarkRequired { .. }));
                    let why = "not written, for the policy asks for a watermark (watermark = \"required\")";
                    assert_eq!(error.to_string(), format!("{problem}; {why}"));
                    assert!(publisher.grid_file(&picture(side), &mut said, options).is_err());
                }
            }
        }
    }
    for options in [by_policy(), by_option()] {
        assert!(matches!(try_open(Options { watermark: None, ..options }), Err(Error::WatermarkOff)));
    }
    // As it was: with the mark that the file says, or none.
    let made = |scheme: &str| {
        let watermark = Some(WatermarkMetadata { scheme: scheme.into(), id: None, strength: 2 });
        wanted_as_made(&Metadata { watermark, ..metadata() })
    };
    assert_eq!(made("tiled").unwrap(), Some(Wanted::Tiled { strength: 2 }));
    assert_eq!(made("dwtDct").unwrap().map(Wanted::scheme), Some("dwtDct"));
    assert_eq!(wanted_as_made(&metadata()).unwrap(), None);
    assert!(matches!(made("another"), Err(Error::UnknownScheme { scheme }) if scheme == "another"));
}

#[test]
fn what_is_left_out_is_not_in_the_file() {
    let bare = open(Options { watermark: None, has_metadata: false, ..Options::default() });
    for format in FileFormat::ALL {
        let options = FileOptions::new(format);
        let mut said = metadata();
        let (file, notes) = bare.file(&picture(128), &mut said, &options).unwrap();
        assert_eq!((said.watermark, notes.len()), (None, 0));
        assert!(calotype::metadata::read(&file).is_err(), "{}", format.name());
        if format != FileFormat::Jpeg {
            assert_eq!(decode(&file, &Limits::default()).unwrap(), picture(128));
        }
        let grid = bare.grid_file(&picture(128), &mut metadata(), &options).unwrap().0;
        assert_eq!(grid, file);
    }
    // A text that is too long for a JPEG is told.
    let mut long = metadata();
    long.request.prompt = "fox ".repeat(20_000);
    let publisher = open(Options::default());
    let notes = publisher.file(&picture(128), &mut long, &FileOptions::new(FileFormat::Jpeg)).unwrap().1;
    assert!(matches!(&notes[..], [Note::Metadata(_)]), "{notes:?}");
}

#[test]
fn files_are_in_the_log_before_they_are_seen() {
    let folder = Folder::new();
    let publisher = open(Options { audit: folder.log(), ..Options::default() });
    let mut said = metadata();
    let (file, _) = publisher.file(&picture(128), &mut said, &FileOptions::new(FileFormat::WebP)).unwrap();
    let made = Made { metadata: &said, file: &file };
    for place in ["folder/a.webp", "0123abcd"] {
        publisher.record(made, None, Path::new(place), &origin()).unwrap();
    }
    publisher.record_license("sd15", "CreativeML Open RAIL-M", &origin()).unwrap();
    let lines = folder.lines();
    assert_eq!([&lines[0]["file"], &lines[1]["file"]], ["a.webp", "0123abcd"]);
    assert_eq!(lines[0]["watermark_id"], said.watermark.clone().unwrap().id.unwrap());
    assert_eq!((&lines[0]["prompt"]["text"], &lines[0]["negative_prompt"]["text"]), (&json!("a fox"), &json!("a cat")));
    assert_eq!(
        (&lines[0]["model_sha256"], &lines[2]["reason"]),
        (&json!("ab".repeat(32)), &json!("CreativeML Open RAIL-M of the model sd15"))
    );
    assert!(lines.iter().all(|line| ids_of(line) == ["ada", "k-1", "r-1", "j-1"]));
    assert_eq!(search(&folder.path("log"), &Query::image(&file)).unwrap().len(), 2);
    assert_eq!(publisher.audit_head().unwrap().unwrap().seq, 3);
    publisher.anchor(&folder.path("anchor")).unwrap();

    // Many at once.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| publisher.record(made, None, Path::new("a"), &origin()).unwrap()));
        }
    });
    drop(publisher);
    let report = verify(&folder.path("log"), Some(&folder.path("anchor"))).unwrap();
    assert_eq!((report.lines, report.faults), (43, vec![]));

    // A log that a crash has cut is mended, and that is told.
    OpenOptions::new().append(true).open(folder.path("log")).unwrap().write_all(b"{\"half").unwrap();
    let publisher = open(Options { audit: folder.log(), ..Options::default() });
    assert_eq!(publisher.mended(), Some(&Note::MendedLog { cut_bytes: 6 }));
    // Where no line can be written nothing may be seen.
    let long = Metadata { request: Request::new("x".repeat(3 << 20)), ..metadata() };
    let error = publisher.record(Made { metadata: &long, file: &file }, None, Path::new("a"), &origin()).unwrap_err();
    assert!(error.to_string().contains("is too long for it"), "{error}");
    // Without a log there is nothing to do.
    let none = open(Options::default());
    none.record(made, None, Path::new("a"), &origin()).unwrap();
    assert_eq!((none.audit(), none.audit_head().unwrap()), (None, None));
}

/// An image of a policy that holds, and its blurred copy: what is said of each, and their files.
fn held(publisher: &Publisher) -> (calotype_publish::Verdict, [(Metadata, Vec<u8>); 2]) {
    let mut of_copy = metadata();
    let judged = publisher.judge(picture(128), &mut of_copy, &origin()).unwrap();
    let mut of_original = of_copy.clone();
    let file = |image: Option<RgbImage>, metadata: &mut Metadata| {
        publisher.file(&image.unwrap(), metadata, &FileOptions::new(FileFormat::Png)).unwrap().0
    };
    let files = [file(judged.held, &mut of_original), file(judged.shown, &mut of_copy)];
    let [original, copy] = files;
    (judged.verdict.unwrap(), [(of_original, original), (of_copy, copy)])
}

#[test]
fn held_images_get_the_same_lines_wherever_they_are_kept() {
    let folder = Folder::new();
    let publisher =
        open(Options { policy: folder.policy("hold", true, ""), audit: folder.log(), ..Options::default() });
    let (verdict, files) = held(&publisher);
    let [original, copy] = files.each_ref().map(|(metadata, file)| Made { metadata, file });
    assert_ne!(original.metadata.watermark, copy.metadata.watermark);
    let decision = |reason: Option<&str>| Decision { who: "bea".into(), reason: reason.map(str::to_owned) };

    // In a folder of held images.
    let (apart, path) = (folder.path("held"), folder.path("a.png"));
    make_folder(&apart).unwrap();
    let mut holding = publisher.stage(&apart, original, FileFormat::Png, &verdict, &origin()).unwrap();
    publisher.hold(&mut holding, copy, &path).unwrap();
    fs::write(&path, copy.file).unwrap();
    let id = holding.id().to_owned();
    drop(publisher);
    let mut log = calotype_safety::audit::Log::open(folder.path("log")).unwrap();
    let found = find(&apart, &id).unwrap();
    assert_eq!(found.original().unwrap(), original.file);
    found.release(&mut log, &decision(Some("a statue")), None).unwrap();
    drop(log);

    // Elsewhere.
    let publisher = open(Options { audit: folder.log(), ..Options::default() });
    let image = HeldImage { id: &id, verdict: &verdict, original, copy };
    let kept = publisher.record_held(image, Path::new("a.png"), &origin()).unwrap();
    let kept: Entry = serde_json::from_value(serde_json::to_value(kept).unwrap()).unwrap();
    publisher.release(&kept, &decision(Some("a statue"))).unwrap();
    publisher.reject(&kept, &decision(None)).unwrap();

    let lines = folder.lines();
    let plain = |line: &Value| {
        let mut line = line.clone();
        // What stands in every line: its place in the log.
        ["seq", "time", "previous", "hash"].iter().for_each(|name| drop(line.as_object_mut().unwrap().remove(*name)));
        line
    };
    assert_eq!((lines.len(), plain(&lines[2]), plain(&lines[3])), (5, plain(&lines[0]), plain(&lines[1])));
    assert_eq!(
        (&lines[2]["kind"], &lines[3]["kind"], &lines[4]["kind"]),
        (&json!("held"), &json!("released"), &json!("rejected"))
    );
    assert_eq!(ids_of(&lines[2]), ["ada", "k-1", "r-1", "j-1"]);
    // Who decided, about whose image.
    assert_eq!(ids_of(&lines[4]), ["bea", "k-1", "r-1", "j-1"]);
    assert_eq!((&lines[3]["reason"], &lines[4]["reason"]), (&json!("a statue"), &Value::Null));
    let mark = |made: Made<'_>| made.metadata.watermark.clone().unwrap().id.unwrap();
    assert_eq!((&lines[2]["watermark_id"], &lines[3]["watermark_id"]), (&json!(mark(copy)), &json!(mark(original))));
    assert_eq!(lines[2]["original_sha256"], lines[3]["file_sha256"]);

    // Without a log nobody holds or decides.
    let none = open(Options::default());
    let is_refused = |result: Result<(), Error>| matches!(result, Err(Error::HoldWithoutLog));
    assert!(is_refused(none.release(&kept, &decision(None))) && is_refused(none.reject(&kept, &decision(None))));
    assert!(is_refused(none.record_held(image, Path::new("a"), &origin()).map(drop)));
    let mut holding = none.stage(&apart, original, FileFormat::Png, &verdict, &origin()).unwrap();
    assert!(is_refused(none.hold(&mut holding, copy, &path)));
    drop(holding);
    assert_eq!(fs::read_dir(&apart).unwrap().count(), 0);
    let policy = folder.policy("hold", true, "");
    assert!(matches!(try_open(Options { policy, ..Options::default() }), Err(Error::HoldWithoutLog)));
}

#[test]
fn policies_have_short_forms() {
    let folder = Folder::new();
    let of = |asked: &str, checker: Option<&str>, model: Option<&Path>| policy(asked, checker.map(Path::new), model);
    assert_eq!(of("off", None, None).unwrap(), None);
    let does = |policy: Option<Policy>| policy.map(|policy| (policy.hides_images(), policy.holds_images()));
    for (word, expected) in
        [("flag", (false, false)), ("blur", (true, false)), ("hold", (true, true)), ("block", (true, false))]
    {
        assert_eq!(does(of(word, Some("checker"), None).unwrap()), Some(expected), "{word}");
        assert!(matches!(of(word, None, None), Err(Error::NoChecker)));
        assert!(matches!(of(word, None, Some(&folder.path("model"))), Err(Error::NoChecker)));
    }
    // That of the model is taken if nothing else is given.
    fs::create_dir_all(folder.path("model/safety_checker")).unwrap();
    let given = folder.path("model/safety_checker");
    let beside = of("blur", None, Some(&folder.path("model"))).unwrap();
    assert_eq!(beside, of("blur", given.to_str(), None).unwrap());
    assert_ne!(beside, of("blur", Some("checker"), Some(&folder.path("model"))).unwrap());
    assert!(matches!(of("strict", None, None), Err(Error::UnknownPolicy { given }) if given == "strict"));
    assert!(matches!(of("a.TOML", Some("checker"), None), Err(Error::CheckerBesideFile)));
    assert!(of("none.toml", None, None).unwrap_err().to_string().starts_with("none.toml: cannot be read"));
}

#[cfg(not(feature = "c2pa"))]
#[test]
fn without_c2pa_nothing_is_signed() {
    let signing = calotype_publish::SigningOptions { key: "a".into(), chain: "b".into() };
    let opened = try_open(Options { signing: Some(signing), ..Options::default() });
    assert!(matches!(opened, Err(Error::NoC2pa)));
}

#[cfg(feature = "c2pa")]
#[test]
fn signatures_name_the_image_that_was_begun_with() {
    use calotype_publish::{InputFile, Parents, SigningOptions};
    use calotype_safety::provenance::{keys::TestKeys, read};

    let (folder, keys) = (Folder::new(), TestKeys::new("Somebody").unwrap());
    let signing = SigningOptions { key: folder.path("key.pem"), chain: folder.path("chain.pem") };
    let options = || Options { signing: Some(signing.clone()), ..Options::default() };
    assert!(matches!(try_open(options()), Err(Error::KeyFile { path, .. }) if path == folder.path("key.pem")));
    fs::write(&signing.key, &keys.key).unwrap();
    fs::write(&signing.chain, "no certificates").unwrap();
    assert!(matches!(try_open(options()), Err(Error::Key { .. })));
    fs::write(&signing.chain, &keys.chain).unwrap();
    let publisher = open(options());

    let bytes = encode_png(&picture(32), &[]).unwrap();
    let mut said = metadata();
    said.request.init = Some(Init::new(InputImage::from_bytes(&bytes).unwrap()));
    let mut sign = |parents: Parents<'_>| {
        publisher.file(&picture(128), &mut said, &FileOptions { parents, ..FileOptions::new(FileFormat::Png) })
    };
    let other = InputFile { name: "other.png", bytes: b"another" };
    let error = sign(Parents::Memory(&[other])).unwrap_err();
    assert!(error.to_string().starts_with("the image to start from: is not there as it was"), "{error}");
    let report = |file: &[u8]| read(file, Some(&keys.root)).unwrap();
    let (file, _) = sign(Parents::Memory(&[other, InputFile { name: "mine.png", bytes: &bytes }])).unwrap();
    assert!(report(&file).is_trusted && report(&file).json.to_string().contains("\"title\":\"mine.png\""));
    let files = [folder.path("other.png"), folder.path("there.png")];
    fs::write(&files[1], &bytes).unwrap();
    let (file, _) = sign(Parents::Files(&files)).unwrap();
    assert!(report(&file).is_trusted && report(&file).json.to_string().contains("\"title\":\"there.png\""));
}
