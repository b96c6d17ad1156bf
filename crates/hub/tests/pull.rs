//! Pulls from a hub on this machine: what is asked, what the cache has afterwards, what may not be had.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{fs, path::Path};

use calotype_hub::{Cache, ModelId, Silent};
use common::{
    COMMIT, Fault, INDEX, OTHER_COMMIT, Server, bytes, folder, git_sha1,
    setting::{Setting, hub, names, pull, pull_file, repository},
    sha256,
};
use tempfile::TempDir;

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

#[test]
fn a_folder_as_huggingface_hub_lays_it_out() {
    let server = folder();
    let home = TempDir::new().unwrap();
    let path = pull(&hub(&server, home.path(), &[]), "org/name").unwrap();
    let model = repository(home.path());
    assert_eq!(path, model.join("snapshots").join(COMMIT));
    assert_eq!(names(&path), ["model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae"]);
    assert_eq!(names(&path.join("unet")), ["config.json", "diffusion_pytorch_model.safetensors"]);
    assert_eq!(fs::read(path.join(UNET)).unwrap(), bytes(400_000, 1));
    assert_eq!(fs::read(path.join("tokenizer/merges.txt")).unwrap(), b"");
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(names(&model), ["blobs", "refs", "snapshots"]);
    assert_eq!(names(&home.path().join("hub")), [".locks", "CACHEDIR.TAG", "models--org--name"]);
    let blobs = names(&model.join("blobs"));
    assert!(blobs.contains(&sha256(&bytes(400_000, 1))) && blobs.contains(&git_sha1(b"{ }")), "{blobs:?}");
    // Four files are `{}`.
    assert_eq!(blobs.len(), 10 - 3);
    #[cfg(unix)]
    {
        let link = |path: &str| fs::read_link(model.join("snapshots").join(COMMIT).join(path)).unwrap();
        assert_eq!(link("vae/config.json"), Path::new("../../../blobs").join(git_sha1(b"{ }")));
        assert_eq!(link("model_index.json"), Path::new("../../blobs").join(git_sha1(INDEX)));
    }
    // Again: only what the model is now, and no file.
    let before = server.requests("").len();
    assert_eq!(pull(&hub(&server, home.path(), &[]), "org/name").unwrap(), path);
    assert_eq!(server.requests("").len(), before + 1);
    let id: ModelId = "org/name".parse().unwrap();
    let cache = Cache::new(home.path().join("hub"));
    assert_eq!(cache.find(&id).as_ref(), Some(&path));
    assert_eq!(cache.find(&format!("org/name@{COMMIT}").parse().unwrap()), Some(path));
    assert_eq!(cache.find(&"org/name@other".parse().unwrap()), None);
    assert_eq!(cache.find(&"org/other".parse().unwrap()), None);
}

#[test]
fn a_new_commit_shares_the_files_that_did_not_change() {
    let server = folder();
    let home = TempDir::new().unwrap();
    let hub = hub(&server, home.path(), &[]);
    let old = pull(&hub, "org/name").unwrap();
    let server = server.file("unet/config.json", r#"{"new": true}"#);
    server.commit(OTHER_COMMIT);
    let stored = server.requests("GET /stored/").len();
    let new = pull(&hub, "org/name").unwrap();
    assert_eq!(server.requests("GET /stored/").len(), stored);
    assert!(new.ends_with(OTHER_COMMIT) && old.is_dir());
    assert_eq!(fs::read_to_string(new.join("unet/config.json")).unwrap(), r#"{"new": true}"#);
    assert_eq!(fs::read_to_string(old.join("unet/config.json")).unwrap(), "{}");
    assert_eq!(hub.cache().find(&"org/name".parse().unwrap()), Some(new));
}

#[test]
fn a_branch_with_slashes_and_a_commit() {
    let server = folder();
    let home = TempDir::new().unwrap();
    let hub = hub(&server, home.path(), &[]);
    let path = pull(&hub, "org/name@refs/pr/1").unwrap();
    assert_eq!(server.requests("GET /api/models/org/name/revision/refs%2Fpr%2F1?blobs=true").len(), 1);
    assert_eq!(fs::read_to_string(repository(home.path()).join("refs/refs/pr/1")).unwrap(), COMMIT);
    let id = format!("org/name@{COMMIT}");
    assert_eq!(pull(&hub, &id).unwrap(), path);
    assert_eq!(names(&repository(home.path()).join("refs")), ["refs"]);
    assert_eq!(hub.cache().find(&id.parse().unwrap()), Some(path));
}

#[test]
fn a_single_file_is_found_as_a_file() {
    let server = Server::start().large("sub/a b.safetensors", bytes(10, 0)).file("sub/a b.ckpt", "x");
    let home = TempDir::new().unwrap();
    let hub = hub(&server, home.path(), &[]);
    let path = pull(&hub, "org/name").unwrap();
    assert_eq!(fs::read(path.join("sub/a b.safetensors")).unwrap(), bytes(10, 0));
    let server = Server::start().large("a.safetensors", bytes(10, 0)).large("b.safetensors", bytes(10, 1));
    let home = TempDir::new().unwrap();
    let hub = self::hub(&server, home.path(), &[]);
    let path = pull_file(&hub, "b.safetensors").unwrap();
    assert!(path.ends_with(format!("snapshots/{COMMIT}/b.safetensors")));
    assert_eq!(hub.cache().find(&"org/name".parse().unwrap()), Some(path));
}

#[test]
fn a_cache_that_huggingface_hub_wrote_is_used() {
    let server = folder();
    let home = TempDir::new().unwrap();
    // As it does where there are no links: files in the snapshot, no blobs.
    let snapshot = repository(home.path()).join("snapshots").join(COMMIT);
    fs::create_dir_all(snapshot.join("unet")).unwrap();
    fs::write(snapshot.join(UNET), bytes(400_000, 1)).unwrap();
    // And a blob that another commit has.
    let blobs = repository(home.path()).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(sha256(&bytes(3_000, 0))), bytes(3_000, 0)).unwrap();
    pull(&hub(&server, home.path(), &[]), "org/name").unwrap();
    assert_eq!(server.requests("GET /stored/").len(), 1, "the VAE alone");
    // A link to a blob that is gone is no file.
    fs::remove_file(blobs.join(sha256(&bytes(2_000, 2)))).unwrap();
    let path = pull(&hub(&server, home.path(), &[]), "org/name").unwrap();
    assert_eq!(fs::read(path.join("vae/diffusion_pytorch_model.safetensors")).unwrap(), bytes(2_000, 2));
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let setting = Setting::new();
    let client = hub(&setting.hub, setting.home.path(), &[("HF_TOKEN", "hf_secret")]);
    let path = pull(&client, "org/name").unwrap();
    assert_eq!(fs::read(path).unwrap(), setting.content);
    let tokens = |server: &Server| -> Vec<Option<String>> {
        server.requests("").iter().map(|request| request.header("authorization").map(str::to_owned)).collect()
    };
    assert_eq!(tokens(&setting.hub), vec![Some("Bearer hf_secret".to_owned()); 3]);
    assert_eq!(tokens(&setting.storage), [None]);
    assert_eq!(setting.storage.requests("")[0].header("accept-encoding"), Some("identity"));
    // A renamed model is on the same server: the token follows.
    let setting = Setting::new();
    let moved = vec![("Location", format!("/org/name/resolve/{COMMIT}/a.safetensors?moved"))];
    setting.hub.fail("HEAD /org/name/resolve", 1, Fault::Status(307, moved));
    pull(&hub(&setting.hub, setting.home.path(), &[("HF_TOKEN", "hf_secret")]), "org/name").unwrap();
    assert_eq!(tokens(&setting.hub), vec![Some("Bearer hf_secret".to_owned()); 4]);
}

#[test]
fn redirects_that_are_not_followed() {
    let setting = Setting::new();
    let to = |location: &str| vec![("Location", location.to_owned())];
    for (location, problem) in [
        ("http://hub.example/x", "it redirects to an address without TLS"),
        ("file:///etc/passwd", "it redirects to what is no address"),
        ("http://user@127.0.0.1/x", "it redirects to what is no address"),
        ("", "it redirects to what is no address"),
    ] {
        setting.hub.fail("GET /api", 1, Fault::Status(302, to(location)));
        assert!(setting.wrong().ends_with(problem), "{location}");
    }
    setting.hub.fail("GET /api", 20, Fault::Status(302, to("/api/x")));
    assert!(setting.wrong().ends_with("it redirects for ever"));
}

#[test]
fn what_may_not_be_had() {
    let setting = Setting::new();
    let code = |code: &str| vec![("X-Error-Code", code.to_owned())];
    let hub_address = setting.hub.address.clone();
    let gated = format!(
        "org/name is gated: accept its conditions on {hub_address}/org/name, and set HF_TOKEN to a token from {hub_address}/settings/tokens"
    );
    for (request, status) in [("GET /api", 401), ("GET /api", 403), ("HEAD", 401), ("HEAD", 403), ("GET /org", 403)] {
        setting.hub.fail(request, 1, Fault::Status(status, code("GatedRepo")));
        assert_eq!(setting.wrong(), gated);
    }
    let client = hub(&setting.hub, setting.home.path(), &[("HF_TOKEN", "hf_secret")]);
    setting.hub.fail("HEAD", 1, Fault::Status(403, code("GatedRepo")));
    let error = pull(&client, "org/name").unwrap_err().to_string();
    assert!(error.contains("with the account that HF_TOKEN is of") && !error.contains("hf_secret"), "{error}");
    let error = pull(&client, "org/other").unwrap_err().to_string();
    assert_eq!(
        error,
        format!("org/other: {hub_address} has no such model, or the token of HF_TOKEN does not show it (401)")
    );
    let error = pull(&setting.client(), "org/other").unwrap_err().to_string();
    assert_eq!(error, format!("org/other: {hub_address} has no such model, or it is private: then set HF_TOKEN (401)"));
    let error = pull(&setting.client(), "org/name@nowhere").unwrap_err().to_string();
    assert_eq!(error, "org/name@nowhere: the model has no such revision: give a branch, a tag or a commit after the @");
    setting.hub.fail("HEAD", 1, Fault::Status(404, code("EntryNotFound")));
    assert_eq!(setting.wrong(), "org/name: the hub lists a.safetensors but does not have it (404)");
    setting.hub.fail("GET /api", 1, Fault::Status(451, vec![("X-Error-Message", "no reason".to_owned())]));
    assert!(setting.wrong().contains("it refuses with 451: no reason"));
}

#[test]
fn answers_that_no_hub_gives() {
    let setting = Setting::new();
    let body = |body: &[u8]| Fault::Body(body.to_vec());
    for (answer, problem) in [
        (body(b"<html>"), "not what a hub says: expected value"),
        (body(b"{}"), "missing field `sha`"),
        (body(br#"{"sha": "../../x"}"#), "../../x is no commit"),
        (body(&[vec![b'['; 100_000]].concat()), "not what a hub says"),
        (
            body(format!("{{\"sha\": \"{COMMIT}\", \"x\": \"{}\"}}", "x".repeat(17 << 20)).as_bytes()),
            "more than 16 MiB",
        ),
        (
            body(
                format!(
                    "{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}",
                    vec!["{\"rfilename\": \"a\"}"; 100_000].join(",")
                )
                .as_bytes(),
            ),
            "100000 files, and no model has more than 20000",
        ),
        (body(format!("{{\"sha\": \"{COMMIT}\", \"cardData\": [1], \"tags\": 7}}").as_bytes()), "but no files at all"),
    ] {
        setting.hub.fail("GET /api", 1, answer);
        let error = setting.wrong();
        assert!(error.contains(problem), "{error}");
    }
    let etag = |name: &'static str, value: &str| {
        Fault::Status(200, vec![("X-Repo-Commit", COMMIT.to_owned()), (name, value.to_owned())])
    };
    for (answer, problem) in [
        (Fault::Status(200, vec![]), "it is not of the commit that was asked for; check HF_ENDPOINT"),
        (
            Fault::Status(200, vec![("X-Repo-Commit", OTHER_COMMIT.to_owned())]),
            "it is not of the commit that was asked for; check HF_ENDPOINT",
        ),
        (etag("ETag", "\"../../x\""), "its ETag is no checksum; check HF_ENDPOINT"),
        (etag("X", "y"), "its ETag is no checksum; check HF_ENDPOINT"),
    ] {
        setting.hub.fail("HEAD", 1, answer);
        let error = setting.wrong();
        assert!(error.ends_with(problem), "{error}");
    }
}

#[test]
fn a_path_out_of_the_cache_is_refused() {
    for path in
        ["../../../../escaped.safetensors", "/tmp/escaped.safetensors", "..\\escaped.safetensors", "nul.safetensors"]
    {
        let home = TempDir::new().unwrap();
        let server = Server::start().file(path, "x");
        let error = pull(&hub(&server, home.path(), &[]), "org/name").unwrap_err().to_string();
        assert!(error.starts_with("org/name: the file "), "{error}");
        assert_eq!(names(home.path()), [""; 0]);
        assert_eq!(server.requests("").len(), 1);
    }
    // A file cannot be a folder of another one.
    let server = Server::start().file("a", "x").file("a/b", "y");
    let home = TempDir::new().unwrap();
    let error = pull_file(&hub(&server, home.path(), &[]), "*").unwrap_err().to_string();
    assert!(error.contains("cannot create it"), "{error}");
}

#[test]
fn offline_asks_nothing() {
    let setting = Setting::new();
    let client = hub(&setting.hub, setting.home.path(), &[("HF_HUB_OFFLINE", "1")]);
    let error = pull(&client, "org/name").unwrap_err().to_string();
    assert_eq!(error, "org/name: HF_HUB_OFFLINE is set, so the hub is not asked: unset it to download");
    assert_eq!(setting.hub.requests("").len(), 0);
}

#[test]
fn licences_are_accepted_once() {
    let setting = Setting::new();
    let client = setting.client();
    let model = client.model(&"org/name".parse().unwrap(), &mut Silent).unwrap();
    assert_eq!(model.license.to_string(), format!("creativeml-openrail-m ({}/org/name)", setting.hub.address));
    assert!(!client.is_accepted(&model));
    client.accept(&model).unwrap();
    assert!(client.is_accepted(&model));
    // Another licence, another question.
    let server = setting.hub.clone().card(serde_json::json!({"license": "mit"}));
    let model = client.model(&"org/name".parse().unwrap(), &mut Silent).unwrap();
    assert!(!client.is_accepted(&model));
    assert_eq!(server.requests("HEAD").len(), 0);
}
