//! The body of a request: what it is encoded with, what it holds, and where its records lie.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use bytes::Bytes;

use super::{CollectError, DECOMPRESSED_MAX_BYTES, RECORD_MAX_COUNT};
use crate::decode::lines;
use crate::decode::scan::{Fault, Scanner, VALUE_MAX_DEPTH};

/// The largest window of zstd that is taken, as a power of two: 8 MiB, what RFC 9659 allows in HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Lines,
    Json,
    /// Not said: an array when it begins like one.
    Unknown,
}

/// A body whose headers are understood.
pub(super) struct Body {
    layout: Layout,
    encoding: Encoding,
    bytes: Bytes,
}

impl Body {
    pub(super) fn new(
        content_type: Option<&str>,
        content_encoding: Option<&str>,
        bytes: Bytes,
    ) -> Result<Self, CollectError> {
        let layout = layout_of(content_type)?;
        let encoding = match content_encoding
            .map(|value| value.trim().to_ascii_lowercase())
            .as_deref()
        {
            None | Some("" | "identity") => Encoding::Identity,
            Some("gzip" | "x-gzip") => Encoding::Gzip,
            Some("zstd") => Encoding::Zstd,
            Some(other) => {
                return Err(CollectError::UnsupportedEncoding {
                    content_encoding: shown(other),
                });
            }
        };
        Ok(Self {
            layout,
            encoding,
            bytes,
        })
    }

    /// Whether the body needs no decompression.
    pub(super) fn is_plain(&self) -> bool {
        self.encoding == Encoding::Identity
    }

    /// The text of the body; never more than the limit is decompressed.
    pub(super) fn decompressed(&self) -> Result<Cow<'_, [u8]>, CollectError> {
        match self.encoding {
            Encoding::Identity => Ok(Cow::Borrowed(&self.bytes)),
            Encoding::Gzip => read_limited(flate2::bufread::MultiGzDecoder::new(&self.bytes[..]), "gzip"),
            Encoding::Zstd => {
                let failed = |source| CollectError::BadCompression {
                    format: "zstd",
                    source,
                };
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(&self.bytes[..]).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
                read_limited(decoder, "zstd")
            }
        }
    }

    /// Where the records lie in the decompressed text.
    pub(super) fn records(&self, text: &[u8]) -> Result<Vec<Range<usize>>, CollectError> {
        let is_json = match self.layout {
            Layout::Lines => false,
            Layout::Json => true,
            Layout::Unknown => lines(text, true)
                .next()
                .is_some_and(|line| text[line].trim_ascii_start().starts_with(b"[")),
        };
        if is_json {
            return json_records(text);
        }
        let mut ranges = Vec::new();
        for line in lines(text, true) {
            push(&mut ranges, line)?;
        }
        Ok(ranges)
    }
}

fn layout_of(content_type: Option<&str>) -> Result<Layout, CollectError> {
    let Some(content_type) = content_type else {
        return Ok(Layout::Unknown);
    };
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "application/x-ndjson" | "application/ndjson" | "text/plain" => Ok(Layout::Lines),
        "application/json" => Ok(Layout::Json),
        _ => Err(CollectError::UnsupportedMediaType {
            content_type: shown(content_type),
        }),
    }
}

/// A header's value as an answer may repeat it: short.
fn shown(value: &str) -> String {
    value.chars().take(80).collect()
}

fn read_limited(reader: impl Read, format: &'static str) -> Result<Cow<'static, [u8]>, CollectError> {
    let mut text = Vec::new();
    reader
        .take(DECOMPRESSED_MAX_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|source| CollectError::BadCompression { format, source })?;
    if text.len() > DECOMPRESSED_MAX_BYTES {
        let what = "size of the decompressed body in bytes";
        return Err(CollectError::TooLarge {
            what,
            limit: DECOMPRESSED_MAX_BYTES,
        });
    }
    Ok(Cow::Owned(text))
}

fn push(ranges: &mut Vec<Range<usize>>, range: Range<usize>) -> Result<(), CollectError> {
    if ranges.len() == RECORD_MAX_COUNT {
        return Err(CollectError::TooLarge {
            what: "number of records",
            limit: RECORD_MAX_COUNT,
        });
    }
    ranges.push(range);
    Ok(())
}

/// The elements of an array, or the one object that the text is.
fn json_records(text: &[u8]) -> Result<Vec<Range<usize>>, CollectError> {
    let mut scanner = Scanner::new(text);
    if text.starts_with(b"\xEF\xBB\xBF") {
        scanner.at = 3;
    }
    scanner.skip_whitespace();
    let ranges = match scanner.peek() {
        0 if scanner.at == text.len() => return Err(CollectError::Empty),
        b'{' => {
            let start = scanner.at;
            scanner.value().map_err(not_records)?;
            let whole = start..scanner.at;
            vec![whole]
        }
        b'[' => elements(&mut scanner)?,
        _ => return Err(not_records(Fault::Syntax { at: scanner.at })),
    };
    scanner.skip_whitespace();
    if scanner.at < text.len() {
        return Err(not_records(Fault::Syntax { at: scanner.at }));
    }
    Ok(ranges)
}

fn elements(scanner: &mut Scanner<'_>) -> Result<Vec<Range<usize>>, CollectError> {
    let mut ranges = Vec::new();
    scanner.at += 1;
    scanner.skip_whitespace();
    if scanner.peek() == b']' {
        scanner.at += 1;
        return Ok(ranges);
    }
    loop {
        let start = scanner.at;
        scanner.value().map_err(not_records)?;
        push(&mut ranges, start..scanner.at)?;
        scanner.skip_whitespace();
        let byte = scanner.peek();
        match byte {
            b',' | b']' => scanner.at += 1,
            _ => return Err(not_records(Fault::Syntax { at: scanner.at })),
        }
        if byte == b']' {
            return Ok(ranges);
        }
        scanner.skip_whitespace();
    }
}

fn not_records(fault: Fault) -> CollectError {
    let detail = match fault {
        Fault::Syntax { at } => format!("no JSON at byte {at}"),
        Fault::TooDeep { at } => format!("more than {VALUE_MAX_DEPTH} levels of nesting at byte {at}"),
    };
    CollectError::NotRecords { detail }
}
