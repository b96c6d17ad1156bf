//! A root and a leaf for trying signatures out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use sha2::{Digest, Sha256};

use super::failed;
use crate::error::{Error, Result};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the certificates hold.
const DAYS: u32 = 365;

/// A certificate to sign with, and the root that it comes from. No trust list knows that root. Its key is not kept: it signs this one
/// certificate and no other.
#[derive(Clone)]
pub struct TestKeys {
    /// The root's certificate, PEM: what a reader must trust.
    pub root: String,
    /// The leaf's certificate, PEM.
    pub chain: String,
    /// The leaf's private key, PEM (PKCS #8).
    pub key: String,
}

impl TestKeys {
    /// New ones for a signer of this name: P-256, valid for a year.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no random numbers; [`Error::Provenance`] for a name that a certificate can't hold.
    pub fn new(name: &str) -> Result<Self> {
        let certificate = |error: rcgen::Error| failed("the certificate", error);
        let (root_key, leaf_key) = (Key::new()?, Key::new()?);
        let mut root = parameters(&format!("{name} test root"), &root_key)?;
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut leaf = parameters(name, &leaf_key)?;
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        leaf.use_authority_key_identifier_extension = true;
        let signed = root.self_signed(&root_key).map_err(certificate)?;
        let chain = leaf.signed_by(&leaf_key, &Issuer::new(root, root_key)).map_err(certificate)?;
        let key = leaf_key.signing.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed("the key", error))?;
        Ok(Self { root: signed.pem(), chain: chain.pem(), key: key.to_string() })
    }
}

fn parameters(name: &str, key: &Key) -> Result<CertificateParams> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, name);
    subject.push(DnType::CommonName, name);
    let epoch = date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| failed("the clock", error))?;
    // Some clocks are behind.
    let begin = now.saturating_sub(DAY);
    let digest = Sha256::digest(&key.public);
    let mut serial = random::<16>()?;
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut parameters = CertificateParams::default();
    parameters.not_before = epoch + begin;
    parameters.not_after = epoch + begin + DAY * DAYS;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.distinguished_name = subject;
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(digest.iter().take(20).copied().collect());
    Ok(parameters)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random { reason: error.to_string() })?;
    Ok(bytes)
}

struct Key {
    signing: SigningKey,
    /// The point, uncompressed.
    public: Vec<u8>,
}

impl Key {
    fn new() -> Result<Self> {
        loop {
            // Of 2³² numbers one is too large.
            if let Ok(signing) = SigningKey::from_slice(&random::<32>()?) {
                let public = signing.verifying_key().to_encoded_point(false).as_bytes().to_vec();
                return Ok(Self { signing, public });
            }
        }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.signing.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl std::fmt::Debug for TestKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestKeys").field("root", &self.root).field("chain", &self.chain).finish_non_exhaustive()
    }
}
