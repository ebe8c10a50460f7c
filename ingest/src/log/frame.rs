//! The bytes of a segment: a header, then frames, each with its own checksum.
//!
//! All numbers are little-endian. A frame carries its offset and the offset up to which the log was durable when it was
//! written, so that a later frame proves what had been synced before it.

use std::path::{Path, PathBuf};

use domain::Timestamp;

/// The first bytes of a segment; the last one is the version of the format.
const SEGMENT_MAGIC: &[u8; 8] = b"EXPTLOG\x01";
/// Magic, base offset, checksum, four bytes for later.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 24;
const FRAME_MAGIC: [u8; 4] = [0xF7, b'E', b'V', 0xC1];
/// Magic, payload size, checksum, record count, received at, offset, durable offset.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// The largest payload of one frame; the largest body that the collector takes fits, with a newline for each record.
pub const FRAME_MAX_BYTES: usize = 48 * 1024 * 1024;

/// The path of the segment that begins at an offset.
pub(crate) fn segment_path(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}.log"))
}

/// The base offset that a file name says, if it is that of a segment.
pub(crate) fn base_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (stem.len() == 20).then(|| stem.parse().ok()).flatten()
}

/// The header of a segment.
pub(crate) fn segment_header(base: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..16].copy_from_slice(&base.to_le_bytes());
    let checksum = crc32fast::hash(&header[..16]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// What a frame says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: u32,
    pub(crate) count: u32,
    pub(crate) received_at: Timestamp,
    /// Where the payload begins in the log.
    pub(crate) offset: u64,
    /// Up to where the log was durable when this frame was written.
    pub(crate) durable: u64,
    checksum: u32,
}

impl FrameHeader {
    /// The offset after the payload.
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }

    /// The size of the frame on disk.
    pub(crate) fn stored_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.length)
    }

    /// Whether the payload, and the header itself, are what was written.
    pub(crate) fn matches(&self, header: &[u8; FRAME_HEADER_BYTES], payload: &[u8]) -> bool {
        checksum(header, payload) == self.checksum
    }
}

fn checksum(header: &[u8; FRAME_HEADER_BYTES], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[4..8]);
    hasher.update(&header[12..]);
    hasher.update(payload);
    hasher.finalize()
}

/// Appends a frame to a buffer.
pub(crate) fn write_frame(
    out: &mut Vec<u8>,
    payload: &[u8],
    count: u32,
    received_at: Timestamp,
    offset: u64,
    durable: u64,
) {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&FRAME_MAGIC);
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&count.to_le_bytes());
    header[16..24].copy_from_slice(&received_at.0.to_le_bytes());
    header[24..32].copy_from_slice(&offset.to_le_bytes());
    header[32..40].copy_from_slice(&durable.to_le_bytes());
    let checksum = checksum(&header, payload);
    header[8..12].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Reads a frame's header; nothing when it cannot be one.
pub(crate) fn read_header(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<FrameHeader> {
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let length = u32_at(4);
    if bytes[..4] != FRAME_MAGIC || length as usize > FRAME_MAX_BYTES {
        return None;
    }
    let offset = u64_at(24);
    offset.checked_add(u64::from(length))?;
    Some(FrameHeader {
        length,
        count: u32_at(12),
        received_at: Timestamp(u64_at(16) as i64),
        offset,
        durable: u64_at(32),
        checksum: u32_at(8),
    })
}

/// Whether the bytes hold, anywhere, a whole frame that was written after `offset` had become durable.
pub(crate) fn proves_durable(bytes: &[u8], offset: u64) -> bool {
    memchr::memmem::find_iter(bytes, &FRAME_MAGIC).any(|at| {
        let rest = &bytes[at..];
        let Some(raw) = rest.first_chunk::<FRAME_HEADER_BYTES>() else {
            return false;
        };
        let Some(header) = read_header(raw).filter(|header| header.durable > offset) else {
            return false;
        };
        let payload = rest.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.length as usize);
        payload.is_some_and(|payload| header.matches(raw, payload))
    })
}
