//! Writing a manifest.

use std::io::Cursor;
use std::sync::Arc;

use c2pa::assertions::{SoftBinding, SoftBindingBlock, SoftBindingScope};
use c2pa::{BoxedSigner, Builder, Context, SigningAlg, create_signer};
use calotype_image::{RgbImage, encode_png};
use serde_json::{Value, json};

use super::{failed, mime_of, read};
use crate::error::{Error, Result};
use crate::watermark::Mark;

/// What kinds of keys sign, as their certificates must be.
const ALGORITHMS: [SigningAlg; 5] =
    [SigningAlg::Es256, SigningAlg::Es384, SigningAlg::Ps256, SigningAlg::Ed25519, SigningAlg::Es512];
/// The name of the tiled mark as a soft binding. It is in no list of such names.
const TILED: &str = "calotype.tiled.1";
/// How actions call the ingredient that an image began with.
const PARENT: &str = "parent";
/// Bytes that are tried for a signature besides its certificates, the fewest first.
const ROOMS: [usize; 6] = [128, 192, 256, 384, 640, 1280];

/// What a manifest says of an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made<'a> {
    /// The program's name and version.
    pub generator: (&'a str, &'a str),
    /// IPTC's `DigitalSourceType`, as an address.
    pub source_type: &'a str,
    /// The image that it began with, if it did. A manifest in there is kept.
    pub parent: Option<Parent<'a>>,
    /// The mark in its pixels.
    pub mark: Option<Mark>,
}

/// An image that another began with.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its file.
    pub file: &'a [u8],
}

/// A key with its certificates.
pub struct Signer {
    signer: Lean,
    context: Arc<Context>,
}

impl Signer {
    /// A private key (PEM, PKCS #8) with its certificate and those between it and a root (PEM, in this order).
    ///
    /// # Errors
    /// [`Error::Provenance`] when they can't be read, do not belong together, or the certificate is not as C2PA asks: found out by
    /// signing an image and reading it.
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self> {
        if is_of_another_form(key) {
            let problem = "it is not PKCS #8 without a password: convert it by openssl pkcs8 -topk8 -nodes -in KEY";
            return Err(failed("the key can't be used", problem));
        }
        let context = Arc::new(Context::new());
        let mut problem = None;
        for algorithm in ALGORITHMS {
            match create_signer::from_keys(chain, key, algorithm, None) {
                Ok(signer) => {
                    let certificates = length(&signer)?;
                    let mut signer = Self { signer: Lean { signer, length: 0 }, context: Arc::clone(&context) };
                    for room in ROOMS {
                        signer.signer.length = certificates + room;
                        match signer.try_out() {
                            Ok(()) => return Ok(signer),
                            Err(error) => problem = Some(error),
                        }
                    }
                }
                Err(error) => {
                    problem.get_or_insert_with(|| failed("the key or its certificates can't be used", error));
                }
            }
        }
        Err(problem.unwrap_or_else(|| failed("the key", "of no kind that signs")))
    }

    fn try_out(&self) -> Result<()> {
        let file = encode_png(&RgbImage::filled(1, 1, [0; 3]), &[])?;
        let generator = ("Calotype", env!("CARGO_PKG_VERSION"));
        let source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
        self.sign(&file, &Made { generator, source_type, ..Made::default() }).map(drop)
    }

    /// A PNG, JPEG or WebP file with a manifest, which is read back before it is given. It must be the last thing that is done to the file.
    ///
    /// The manifest has an id of its own and its time, so it is another each time.
    ///
    /// # Errors
    /// [`Error::Provenance`] when it can't be made, or reads back other than valid.
    pub fn sign(&self, file: &[u8], made: &Made<'_>) -> Result<Vec<u8>> {
        let manifest = |error: c2pa::Error| failed("the C2PA manifest", error);
        let mut builder =
            Builder::from_shared_context(&self.context).with_definition(definition(made)).map_err(manifest)?;
        if let Some(Parent { name, file }) = made.parent {
            let ingredient = json!({ "title": name, "relationship": "parentOf", "label": PARENT });
            let added =
                builder.add_ingredient_from_stream(ingredient.to_string(), mime_of(file), &mut Cursor::new(file));
            added.map_err(|error| failed(&format!("the C2PA ingredient {name}"), error))?;
        }
        if let Some(mark) = made.mark {
            builder.add_assertion(SoftBinding::LABEL, &soft_binding(mark)).map_err(manifest)?;
        }
        let (mut source, mut signed) = (Cursor::new(file), Cursor::new(Vec::new()));
        builder.sign(&self.signer, mime_of(file), &mut source, &mut signed).map_err(manifest)?;
        let signed = signed.into_inner();
        match read(&signed, None) {
            Some(report) if report.is_valid => Ok(signed),
            Some(report) => Err(failed("the C2PA manifest is not valid", report.problems.join(", "))),
            None => Err(failed("the C2PA manifest", "it can't be read back")),
        }
    }
}

/// Reserves no more than a signature without a time stamp takes: c2pa-rs keeps 10 KB free for one, in which flipped bits are found by
/// nobody.
struct Lean {
    signer: BoxedSigner,
    length: usize,
}

impl c2pa::Signer for Lean {
    fn sign(&self, data: &[u8]) -> c2pa::Result<Vec<u8>> {
        self.signer.sign(data)
    }

    fn alg(&self) -> SigningAlg {
        self.signer.alg()
    }

    fn certs(&self) -> c2pa::Result<Vec<Vec<u8>>> {
        self.signer.certs()
    }

    fn reserve_size(&self) -> usize {
        self.length
    }
}

/// Whether a key is in one of the older forms of PEM, or encrypted.
fn is_of_another_form(key: &[u8]) -> bool {
    let forms: [&[u8]; 3] = [b"BEGIN EC PRIVATE KEY", b"BEGIN RSA PRIVATE KEY", b"BEGIN ENCRYPTED PRIVATE KEY"];
    forms.iter().any(|form| key.windows(form.len()).any(|part| part == *form))
}

/// Bytes of the certificates.
fn length(signer: &BoxedSigner) -> Result<usize> {
    let certificates = c2pa::Signer::certs(signer).map_err(|error| failed("the certificates", error))?;
    Ok(certificates.iter().map(Vec::len).sum())
}

/// The actions by which an image came to be, and what did them.
fn definition(made: &Made<'_>) -> Value {
    let (name, version) = made.generator;
    let agent = json!({ "name": name, "version": version });
    let action = |action: &str| json!({ "action": action, "softwareAgent": agent });
    let generated = |name: &str| {
        let mut action = action(name);
        action["digitalSourceType"] = made.source_type.into();
        action
    };
    let mut actions = match made.parent {
        None => vec![generated("c2pa.created")],
        Some(_) => {
            let mut opened = action("c2pa.opened");
            opened["parameters"] = json!({ "ingredientIds": [PARENT] });
            vec![opened, generated("c2pa.edited")]
        }
    };
    actions.extend(made.mark.map(|_| action("c2pa.watermarked.bound")));
    json!({
        "claim_generator_info": [agent],
        "assertions": [{ "label": "c2pa.actions.v2", "data": { "actions": actions } }],
    })
}

fn soft_binding(mark: Mark) -> SoftBinding {
    let (algorithm, value) = match mark {
        Mark::Tiled { id, .. } => (TILED.to_owned(), format!("{id:016x}")),
        Mark::Package(scheme) => {
            let text = crate::watermark::package::DEFAULT_TEXT;
            (format!("imwatermark.{}", scheme.name()), text.bytes().map(|byte| format!("{byte:02x}")).collect())
        }
    };
    let mut binding = SoftBinding::default();
    binding.alg = Some(algorithm);
    binding.blocks = vec![SoftBindingBlock { scope: SoftBindingScope::default(), value }];
    binding.name = Some("invisible watermark".to_owned());
    binding
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("algorithm", &c2pa::Signer::alg(&self.signer)).finish_non_exhaustive()
    }
}

impl From<c2pa::Error> for Error {
    fn from(error: c2pa::Error) -> Self {
        failed("C2PA", error)
    }
}
