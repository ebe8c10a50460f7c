//! The full state as bytes, and back.
//!
//! A header names the form's version, and a checksum guards the rest: a snapshot is either read whole or refused.

use std::collections::BTreeSet;
use std::io::{self, Write};

use domain::Timestamp;
use domain::metric::MeasurementPlan;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::arms::{Arm, Arms};
use super::rebuild::Predecessor;
use super::users::{Exposure, Track, Tracks, Value};
use super::windows::{Row, StoredCell, Windows};
use super::{Dirty, Engine, Horizons};
use crate::dedup::{KeptIds, SeenIds, SeenParts};
use crate::names::{Names, Users};
use crate::streamed::Streamed;

/// The first bytes of a snapshot: a mark and the form's version. The checksum of the body comes last.
const HEADER: &[u8; 8] = b"EXPSNAP2";
/// The first bytes of the form before, which has the checksum behind them and the same body.
const FIRST_HEADER: &[u8; 8] = b"EXPSNAP1";
/// The bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;
/// How much is handed on at once: the parts of a snapshot are written in a few bytes each.
const BUFFER_BYTES: usize = 1 << 20;

/// What a snapshot holds, read back.
#[derive(Deserialize)]
struct Parts {
    small: Small,
    user_hashes: Vec<u64>,
    user_ends: Vec<u64>,
    user_bytes: Vec<u8>,
    first_exposures: Vec<u32>,
    last_tracks: Vec<u64>,
    exposures: Vec<Exposure>,
    values: Vec<Value>,
    tracks: Vec<Track>,
    rows: Vec<Row>,
    cells: Vec<StoredCell>,
    seen: SeenParts,
}

/// The same as [`Parts`], field by field, without copying the large arrays: the state may be half of the memory there is.
#[derive(Serialize)]
#[serde(bound = "")]
struct Written<'a, C: Iterator<Item = StoredCell>> {
    small: Small,
    user_hashes: &'a [u64],
    user_ends: &'a [u64],
    user_bytes: &'a [u8],
    first_exposures: &'a [u32],
    last_tracks: &'a [u64],
    exposures: &'a [Exposure],
    values: &'a [Value],
    tracks: &'a std::collections::VecDeque<Track>,
    rows: &'a [Row],
    cells: Streamed<C>,
    seen: KeptIds<'a>,
}

/// The part of a snapshot that is small, or about to be.
#[derive(Serialize, Deserialize)]
struct Small {
    horizons: Horizons,
    watermark: Instant,
    experiments: Vec<String>,
    variants: Vec<String>,
    events: Vec<String>,
    exposure_texts: Vec<String>,
    free_exposures: Vec<u32>,
    free_values: Vec<u32>,
    first_track: u64,
    dropped_until: Instant,
    arms: Vec<Arm>,
    free_rows: Vec<u32>,
    closed_below: [i64; 3],
    closed_rows: Vec<Row>,
    dirty: Dirty,
    changed_exposures: Vec<u32>,
    stale_exposure_days: BTreeSet<i32>,
    measure_count: u64,
}

#[derive(Serialize, Deserialize)]
struct Instant(#[serde(with = "domain::timestamp::as_micros")] Timestamp);

/// A writer that knows the checksum of what went through it.
struct Checked<W> {
    writer: W,
    checksum: crc32fast::Hasher,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.writer.write_all(bytes) {
            let kind = error.kind();
            self.failed = Some(error);
            return Err(kind.into());
        }
        self.checksum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Stands for a plan in a snapshot.
fn fingerprint(plan: &MeasurementPlan) -> u128 {
    let text = serde_json::to_vec(plan).expect("a plan has only text keys and finite numbers");
    xxh3_128(&text)
}

/// Whether a snapshot follows a plan; none when its form does not say.
pub fn snapshot_follows(plan: &MeasurementPlan, bytes: &[u8]) -> Option<bool> {
    let rest = bytes.strip_prefix(HEADER)?;
    Some(rest.starts_with(&fingerprint(plan).to_le_bytes()))
}

/// The parts of a snapshot that is whole.
fn parts_of(bytes: &[u8]) -> Result<Parts, String> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER.len()) else {
        return Err("it is too short".into());
    };
    let (body, checksum, plan_bytes) = if header == HEADER {
        let end = rest.len().checked_sub(CHECKSUM_BYTES);
        let (body, checksum) = rest
            .split_at_checked(end.ok_or("it is too short")?)
            .ok_or("it is too short")?;
        (body, checksum, size_of::<u128>())
    } else if header == FIRST_HEADER {
        let (checksum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or("it is too short")?;
        (body, checksum, 0)
    } else {
        return Err("it is of a form that this program does not read".into());
    };
    if crc32fast::hash(body).to_le_bytes() != checksum {
        return Err("its checksum does not match".into());
    }
    let parts = body.get(plan_bytes..).ok_or("it is too short")?;
    postcard::from_bytes(parts).map_err(|error| error.to_string())
}

fn texts(names: &Names) -> Vec<String> {
    names.texts().iter().map(|text| text.to_string()).collect()
}

fn names(texts: Vec<String>) -> Names {
    let mut names = Names::default();
    for text in texts {
        names.number_of(&text);
    }
    names
}

impl Engine {
    /// Writes the whole state, which follows the plan.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_snapshot<W: Write>(&self, plan: &MeasurementPlan, writer: W) -> io::Result<()> {
        let plan = fingerprint(plan);
        let (user_hashes, user_ends, user_bytes) = self.users.parts();
        let (tracks, first_track) = self.tracks.parts();
        let small = Small {
            horizons: self.horizons,
            watermark: Instant(self.watermark),
            experiments: texts(&self.experiments),
            variants: texts(&self.variants),
            events: texts(&self.events),
            exposure_texts: self.exposure_texts.iter().map(|text| text.to_string()).collect(),
            free_exposures: self.free_exposures.clone(),
            free_values: self.free_values.clone(),
            first_track,
            dropped_until: Instant(self.tracks.dropped_until),
            arms: self.arms.list().to_vec(),
            free_rows: self.windows.free_rows(),
            closed_below: self.windows.closed_below,
            closed_rows: self.closed_rows.clone(),
            dirty: self.dirty.clone(),
            changed_exposures: self.changed_exposures.clone(),
            stale_exposure_days: self.stale_exposure_days.clone(),
            measure_count: self.measures.len() as u64,
        };
        let parts = Written {
            small,
            user_hashes,
            user_ends,
            user_bytes,
            first_exposures: &self.first_exposures,
            last_tracks: &self.last_tracks,
            exposures: &self.exposures,
            values: &self.values,
            tracks,
            rows: &self.windows.rows,
            cells: Streamed::new(self.windows.cells.len(), self.windows.stored_cells()),
            seen: self.seen.parts(),
        };
        let mut writer = Checked {
            writer,
            checksum: crc32fast::Hasher::new(),
            failed: None,
        };
        writer.writer.write_all(HEADER)?;
        let mut buffered = io::BufWriter::with_capacity(BUFFER_BYTES, &mut writer);
        // What is this short fails, if at all, with the first part that is written.
        let written = buffered.write_all(&plan.to_le_bytes()).and_then(|()| {
            let written = postcard::to_io(&parts, buffered).map_err(io::Error::other);
            written.and_then(|mut buffered| buffered.flush())
        });
        // The form says only that writing failed; why, the writer knows.
        if let Some(error) = writer.failed {
            return Err(error);
        }
        written?;
        let checksum = writer.checksum.finalize();
        writer.writer.write_all(&checksum.to_le_bytes())?;
        writer.writer.flush()
    }

    /// The state that was written as bytes, following the plan that it was made with.
    ///
    /// # Errors
    /// A phrase that says why the bytes cannot be used.
    pub fn from_snapshot(plan: &MeasurementPlan, bytes: &[u8]) -> Result<Self, String> {
        if snapshot_follows(plan, bytes) == Some(false) {
            return Err("it follows another measurement plan".into());
        }
        Self::from_parts(plan, parts_of(bytes)?)
    }

    /// What a state that was written as bytes hands on to one that is made again from the lake.
    ///
    /// # Errors
    /// As [`Self::from_snapshot`].
    pub fn predecessor(bytes: &[u8]) -> Result<Predecessor, String> {
        let parts = parts_of(bytes)?;
        let (experiments, variants) = (names(parts.small.experiments), names(parts.small.variants));
        let arms = parts.small.arms.iter().filter(|arm| arm.written).map(|arm| {
            let (experiment, variant) = (experiments.text(arm.experiment), variants.text(arm.variant));
            (experiment.to_owned(), variant.to_owned())
        });
        Ok(Predecessor {
            watermark: parts.small.watermark.0,
            seen: SeenIds::from_parts(parts.seen),
            arms: arms.collect(),
            events: parts.small.events,
        })
    }

    fn from_parts(plan: &MeasurementPlan, mut parts: Parts) -> Result<Self, String> {
        let small = parts.small;
        let mut engine = Self::new(plan, small.horizons);
        engine.experiments = names(small.experiments);
        engine.events = names(small.events);
        engine.variants = names(small.variants);
        engine.measures =
            crate::measure::Measures::compile(plan, &mut engine.experiments, &mut engine.events);
        for event in 0..engine.events.texts().len() as u32 {
            if (engine.measures.len() as u64) < small.measure_count
                && engine.measures.of_event(event).is_empty()
            {
                engine.measures.unlimited(event);
            }
        }
        if engine.measures.len() as u64 != small.measure_count {
            return Err("it follows another measurement plan".into());
        }
        engine.watermark = small.watermark.0;
        engine.users = Users::from_parts(parts.user_hashes, parts.user_ends, parts.user_bytes);
        engine.first_exposures = parts.first_exposures;
        engine.last_tracks = parts.last_tracks;
        engine.exposures = parts.exposures;
        engine.exposure_texts = small
            .exposure_texts
            .into_iter()
            .map(String::into_boxed_str)
            .collect();
        engine.free_exposures = small.free_exposures;
        engine.free_values = small.free_values;
        engine.tracks = Tracks::from_parts(parts.tracks, small.first_track, small.dropped_until.0);
        engine.arms = Arms::from_list(small.arms);
        engine.windows = Windows::from_parts(
            parts.rows,
            &parts.cells,
            &mut parts.values,
            small.free_rows,
            small.closed_below,
        );
        engine.values = parts.values;
        engine.closed_rows = small.closed_rows;
        engine.seen = SeenIds::from_parts(parts.seen);
        engine.dirty = small.dirty;
        engine.changed_exposures = small.changed_exposures;
        engine.stale_exposure_days = small.stale_exposure_days;
        Ok(engine)
    }

    /// Follows other horizons from now on.
    pub fn set_horizons(&mut self, horizons: Horizons) {
        self.horizons = horizons;
    }
}
