//! The definitions as SDKs get them that evaluate by themselves: one document per version, compressed once.

use std::sync::OnceLock;

use bytes::Bytes;
use domain::rules::definition::Definitions;
use sha2::{Digest, Sha256};

/// The level of both compressions: the document is made once per version and sent to thousands.
const GZIP_LEVEL: u32 = 6;
/// As [`GZIP_LEVEL`], on the scale of zstd; levels above take ten times as long for a tenth less.
const ZSTD_LEVEL: i32 = 9;

/// How a document is coded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Coding {
    /// The best coding that an `Accept-Encoding` header allows.
    pub fn accepted(header: &str) -> Self {
        let allowed = |wanted: &str| {
            header.split(',').any(|part| {
                let mut words = part.split(';').map(str::trim);
                let named = words.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
                let refused = words.any(|word| {
                    let weight = word
                        .strip_prefix("q=")
                        .and_then(|weight| weight.parse::<f32>().ok());
                    weight.is_some_and(|weight| weight <= 0.0)
                });
                named && !refused
            })
        };
        match (allowed("zstd"), allowed("gzip")) {
            (true, _) => Self::Zstd,
            (false, true) => Self::Gzip,
            (false, false) => Self::Identity,
        }
    }

    /// The value of `Content-Encoding`, when one is needed.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// A version of the definitions, ready to be sent.
#[derive(Debug, Default)]
pub struct Published {
    tag: String,
    identity: Bytes,
    gzip: OnceLock<Bytes>,
    zstd: OnceLock<Bytes>,
}

impl Published {
    /// The document of some definitions: everything that evaluation needs and nothing else.
    pub fn of(definitions: &Definitions) -> Self {
        let identity = serde_json::to_vec(&without_notes(definitions)).unwrap_or_default();
        let digest = Sha256::digest(&identity);
        Self {
            tag: digest[..12].iter().map(|byte| format!("{byte:02x}")).collect(),
            identity: identity.into(),
            gzip: OnceLock::new(),
            zstd: OnceLock::new(),
        }
    }

    /// The strong ETag of the document in a coding: other bytes, another tag.
    pub fn etag(&self, coding: Coding) -> String {
        let ending = coding.name().map(|name| format!("-{name}")).unwrap_or_default();
        format!("\"{}{ending}\"", self.tag)
    }

    /// Whether an `If-None-Match` header names this document, in whatever coding.
    pub fn is_named_by(&self, header: &str) -> bool {
        let own = |coding| self.etag(coding);
        let tags = [own(Coding::Identity), own(Coding::Gzip), own(Coding::Zstd)];
        header
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tags.iter().any(|own| own == tag))
    }

    /// The document in a coding. The first call for a coding compresses, so it belongs on a thread that may be kept busy.
    pub fn bytes(&self, coding: Coding) -> Bytes {
        match coding {
            Coding::Identity => self.identity.clone(),
            Coding::Gzip => self.gzip.get_or_init(|| gzip(&self.identity)).clone(),
            Coding::Zstd => self.zstd.get_or_init(|| zstd(&self.identity)).clone(),
        }
    }

    /// Whether [`Self::bytes`] has no work left to do.
    pub fn is_ready(&self, coding: Coding) -> bool {
        match coding {
            Coding::Identity => true,
            Coding::Gzip => self.gzip.get().is_some(),
            Coding::Zstd => self.zstd.get().is_some(),
        }
    }
}

/// Names, descriptions and other environments are for people and stay here.
fn without_notes(definitions: &Definitions) -> Definitions {
    let mut own = definitions.clone();
    for flag in &mut own.flags {
        if let Some(environment) = &definitions.environment {
            *flag = flag.in_environment(environment);
        }
        flag.environments.clear();
        flag.name.clear();
        for rule in &mut flag.rules {
            rule.description.clear();
        }
    }
    for segment in &mut own.segments {
        segment.name.clear();
    }
    for layer in &mut own.layers {
        layer.name.clear();
    }
    for holdout in &mut own.holdouts {
        holdout.name.clear();
    }
    own
}

fn gzip(bytes: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written
        .unwrap_or_else(|_| unreachable!("writing to memory does not fail"))
        .into()
}

fn zstd(bytes: &[u8]) -> Bytes {
    zstd::bulk::compress(bytes, ZSTD_LEVEL)
        .unwrap_or_else(|_| unreachable!("a buffer of the needed size is made by the call"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_coding_that_the_client_takes_is_chosen() {
        for (header, expected) in [
            ("", Coding::Identity),
            ("gzip, deflate, br", Coding::Gzip),
            ("GZIP;q=0.5, zstd;q=0.1", Coding::Zstd),
            ("zstd;q=0, gzip", Coding::Gzip),
            ("gzip;q=0.0", Coding::Identity),
            ("x-gzip", Coding::Identity),
        ] {
            assert_eq!(Coding::accepted(header), expected, "{header}");
        }
    }

    #[test]
    fn every_coding_holds_the_same_document_under_its_own_tag() {
        // What must never change: a strong tag names bytes, so two codings never share one.
        let published = Published::of(&Definitions::default());
        let identity = published.bytes(Coding::Identity);
        let zstd = zstd::decode_all(&published.bytes(Coding::Zstd)[..]).unwrap();
        let mut gzip = Vec::new();
        let packed = published.bytes(Coding::Gzip);
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut gzip).unwrap();
        assert_eq!((&zstd[..], &gzip[..]), (&identity[..], &identity[..]));
        let tags = [Coding::Identity, Coding::Gzip, Coding::Zstd].map(|coding| published.etag(coding));
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
        for tag in &tags {
            assert!(published.is_named_by(&format!("\"x\", W/{tag}")));
        }
        assert!(!published.is_named_by("\"x\"") && !published.is_named_by(""));
    }
}
