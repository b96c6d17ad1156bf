//! Signed files: what they say, and that every change of them is found. `CALOTYPE_FLIPS` says how many bits are flipped in a file of each
//! format.
#![cfg(feature = "c2pa")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

use std::{io::Cursor, ops::Range};

use calotype_image::{FileFormat, Limits, RgbImage, XMP_KEYWORD, decode, encode};
use calotype_safety::{
    provenance::{Made, Parent, Report, Signer, keys::TestKeys, read},
    watermark::{Mark, package::Scheme},
};

const MADE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
const COMPOSITE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";

fn picture() -> RgbImage {
    let data = (0..48 * 40).flat_map(|i| [i * 7 % 200, i % 48 * 5, 255 - i / 8].map(|x| x as u8)).collect();
    RgbImage::new(48, 40, data).unwrap()
}

fn file(format: FileFormat) -> Vec<u8> {
    encode(&picture(), format, 90, &[("parameters", "a fox\nSteps: 1"), (XMP_KEYWORD, "<x:xmpmeta/>")]).unwrap()
}

fn keys() -> (TestKeys, Signer) {
    let keys = TestKeys::new("A signer").unwrap();
    let signer = Signer::new(keys.chain.as_bytes(), keys.key.as_bytes()).unwrap();
    (keys, signer)
}

fn made() -> Made<'static> {
    let mark = Some(Mark::Tiled { id: 0x00ff_0123_4567_89ab, strength: 1 });
    Made { generator: ("Calotype", "1.2"), source_type: MADE, mark, ..Made::default() }
}

/// The active manifest.
fn manifest(report: &Report) -> &serde_json::Value {
    &report.json["manifests"][report.json["active_manifest"].as_str().unwrap()]
}

#[test]
fn a_manifest_says_how_the_image_came_to_be() {
    let (keys, signer) = keys();
    for format in FileFormat::ALL {
        let plain = file(format);
        assert_eq!(read(&plain, None), None);
        let signed = signer.sign(&plain, &made()).unwrap();
        // Pixels and texts stay as they were.
        let pixels = |file: &[u8]| decode(file, &Limits::default()).unwrap();
        assert_eq!(pixels(&signed), pixels(&plain));
        let texts = |file: &[u8]| calotype_image::PictureTexts::read(file).unwrap();
        assert_eq!(texts(&signed), texts(&plain));
        assert!(signed.len() < plain.len() + 4000, "{}", signed.len() - plain.len());

        // To those who know the root it is trusted, to all others valid by an unknown signer.
        let report = read(&signed, None).unwrap();
        assert!(report.is_valid && !report.is_trusted, "{:?}", report.problems);
        assert_eq!(report.problems, ["signingCredential.untrusted"]);
        let report = read(&signed, Some(&keys.root)).unwrap();
        assert!(report.is_valid && report.is_trusted && report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.signer.as_deref(), Some("A signer"));
        let other = TestKeys::new("Another").unwrap();
        assert!(!read(&signed, Some(&other.root)).unwrap().is_trusted);

        let manifest = manifest(&report);
        assert_eq!(manifest["claim_generator_info"][0]["name"], "Calotype");
        let assertion = |label: &str| {
            let all = manifest["assertions"].as_array().unwrap();
            all.iter().find(|assertion| assertion["label"] == label).unwrap()["data"].clone()
        };
        let actions = &assertion("c2pa.actions.v2")["actions"];
        assert_eq!((&actions[0]["action"], &actions[0]["digitalSourceType"]), (&"c2pa.created".into(), &MADE.into()));
        assert_eq!(actions[1]["action"], "c2pa.watermarked.bound");
        let binding = assertion("c2pa.soft-binding");
        assert_eq!(
            (&binding["alg"], &binding["blocks"][0]["value"]),
            (&"calotype.tiled.1".into(), &"00ff0123456789ab".into())
        );
    }
    let package = Made { mark: Some(Mark::Package(Scheme::DwtDctSvd)), ..made() };
    let signed = signer.sign(&file(FileFormat::Png), &package).unwrap();
    let text = read(&signed, None).unwrap().json.to_string();
    assert!(text.contains("imwatermark.dwtDctSvd") && text.contains("537461626c65446966667573696f6e5631"), "{text}");
    let none = signer.sign(&file(FileFormat::Png), &Made { mark: None, ..made() }).unwrap();
    let text = read(&none, None).unwrap().json.to_string();
    assert!(!text.contains("soft-binding") && !text.contains("watermarked"), "{text}");
}

/// Of every format that an image can start from, signed or not.
#[test]
fn what_an_image_began_with_stays_an_ingredient() {
    let (keys, signer) = keys();
    let first = signer.sign(&file(FileFormat::Jpeg), &made()).unwrap();
    let others = [image::ImageFormat::Bmp, image::ImageFormat::Gif, image::ImageFormat::Tiff].map(|format| {
        let mut bytes = Cursor::new(Vec::new());
        let picture = image::RgbImage::from_raw(48, 40, picture().into_data()).unwrap();
        image::DynamicImage::from(picture).into_rgba8().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    });
    let plain = [file(FileFormat::Png), file(FileFormat::WebP), file(FileFormat::Jpeg)];
    for (n, parent) in others.iter().chain(&plain).chain([&first]).enumerate() {
        let made = Made { parent: Some(Parent { name: "init", file: parent }), source_type: COMPOSITE, ..made() };
        for format in FileFormat::ALL {
            let signed = signer.sign(&file(format), &made).unwrap();
            let report = read(&signed, Some(&keys.root)).unwrap();
            assert!(report.is_trusted, "{n} {format:?}: {:?}", report.problems);
            let manifest = manifest(&report);
            let ingredient = &manifest["ingredients"][0];
            assert_eq!((&ingredient["title"], &ingredient["relationship"]), (&"init".into(), &"parentOf".into()));
            assert_eq!(!ingredient["active_manifest"].is_null(), n == 6, "{n}");
            let text = manifest.to_string();
            assert!(
                text.contains("c2pa.opened") && text.contains(COMPOSITE) && !text.contains("c2pa.created"),
                "{text}"
            );
            assert_eq!(report.json["manifests"].as_object().unwrap().len(), if n == 6 { 2 } else { 1 });
        }
    }
}

#[test]
fn keys_that_can_not_sign_are_refused() {
    let (one, other) = (TestKeys::new("One").unwrap(), TestKeys::new("Other").unwrap());
    let sec1 = one.key.replace("PRIVATE KEY", "EC PRIVATE KEY");
    for (chain, key) in [
        (one.chain.as_str(), other.key.as_str()),
        (&one.root, &one.key),
        (&one.key, &one.chain),
        ("", ""),
        (&one.chain, ""),
        ("", &one.key),
        (&one.chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &one.key),
        (&one.chain, &sec1),
        (&one.chain[..200], &one.key),
    ] {
        let refused = Signer::new(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(!refused.contains('\n') && refused.len() > 20, "{refused}");
    }
    let other_form = Signer::new(one.chain.as_bytes(), sec1.as_bytes()).unwrap_err().to_string();
    assert!(other_form.contains("openssl pkcs8 -topk8"), "{other_form}");
    // Its own root may stand behind a leaf.
    Signer::new(format!("{}{}", one.chain, one.root).as_bytes(), one.key.as_bytes()).unwrap();
    assert!(!format!("{one:?}").contains("PRIVATE"));
}

/// Where the manifest lies in a file.
fn boxes(file: &[u8], format: FileFormat) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    let big = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    match format {
        FileFormat::Png => {
            at = 8;
            while at < file.len() {
                let end = at + 12 + big(at);
                if &file[at + 4..at + 8] == b"caBX" {
                    found.push(at..end);
                }
                at = end;
            }
        }
        FileFormat::Jpeg => {
            at += 2;
            while file[at + 1] != 0xda {
                let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
                if file[at + 1] == 0xeb {
                    found.push(at..end);
                }
                at = end;
            }
        }
        FileFormat::WebP => {
            at = 12;
            while at < file.len() {
                let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
                let end = at + 8 + length.next_multiple_of(2);
                if &file[at..at + 4] == b"C2PA" {
                    found.push(at..end);
                }
                at = end;
            }
        }
    }
    found
}

/// Outside of the manifest every flip is found; within it a flip is found or changes nothing of what is reported.
#[test]
fn flipped_bits_are_found() {
    let flips = std::env::var("CALOTYPE_FLIPS").ok().and_then(|count| count.parse().ok()).unwrap_or(100u64);
    let (keys, signer) = keys();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for format in FileFormat::ALL {
        let signed = signer.sign(&file(format), &made()).unwrap();
        let report = read(&signed, Some(&keys.root)).unwrap();
        let boxes = boxes(&signed, format);
        assert!(!boxes.is_empty(), "{format:?}");
        let (mut inside, mut without_effect) = (0, 0);
        for flip in 0..flips {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let bit = (next() % (8 * signed.len() as u64)) as usize;
            // The half of them outside of the manifest, which is the larger part of so small a file.
            let outside = (0..signed.len()).filter(|at| !boxes.iter().any(|range| range.contains(at)));
            let outside: Vec<usize> = if flip % 2 == 0 { outside.collect() } else { Vec::new() };
            let at = if outside.is_empty() { bit / 8 } else { outside[bit / 8 % outside.len()] };
            let mut flipped = signed.clone();
            flipped[at] ^= 1 << (bit % 8);
            let found = read(&flipped, Some(&keys.root));
            let is_found = found.as_ref().is_none_or(|found| !found.is_valid);
            if boxes.iter().any(|range| range.contains(&at)) {
                inside += 1;
                without_effect += usize::from(!is_found);
                assert!(
                    is_found || found.as_ref() == Some(&report),
                    "{format:?}: byte {at} of {}: {found:?}",
                    signed.len()
                );
            } else {
                assert!(is_found, "{format:?}: byte {at} of {}, bit {}: not found", signed.len(), bit % 8);
            }
        }
        println!("{format:?}: {flips} flips, {inside} in the manifest, {without_effect} of them without effect");
    }
}
