//! The full state as bytes, and back.
//!
//! A header names the form's version, and a checksum guards the rest: a snapshot is either read whole or refused.

use std::collections::BTreeSet;

use domain::Timestamp;
use domain::metric::MeasurementPlan;
use serde::{Deserialize, Serialize};

use super::arms::{Arm, Arms};
use super::users::{Exposure, Track, Tracks, Value};
use super::windows::{Cell, Row, Windows};
use super::{Dirty, Engine, Horizons};
use crate::dedup::{SeenIds, SeenParts};
use crate::names::{Names, Users};

/// The first bytes of a snapshot: a mark and the form's version.
const HEADER: &[u8; 8] = b"EXPSNAP1";
/// The bytes of the header and the checksum.
const HEADER_BYTES: usize = 12;

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
    cells: Vec<Cell>,
    seen: SeenParts,
}

/// The same as [`Parts`], field by field, without copying the large arrays: the state may be half of the memory there is.
#[derive(Serialize)]
struct Written<'a> {
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
    cells: &'a [Cell],
    seen: SeenParts,
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
    /// The whole state as bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
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
            free_rows: self.windows.free_rows().to_vec(),
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
            cells: &self.windows.cells,
            seen: self.seen.parts(),
        };
        let mut bytes = HEADER.to_vec();
        bytes.extend_from_slice(&[0; 4]);
        let mut bytes = postcard::to_extend(&parts, bytes).expect("writing to memory does not fail");
        let checksum = crc32fast::hash(&bytes[HEADER_BYTES..]);
        bytes[HEADER.len()..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The state that was written as bytes, following the plan that it was made with.
    ///
    /// # Errors
    /// A phrase that says why the bytes cannot be used.
    pub fn from_snapshot(plan: &MeasurementPlan, bytes: &[u8]) -> Result<Self, String> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err("it is too short".into());
        };
        if &header[..HEADER.len()] != HEADER {
            return Err("it is of a form that this program does not read".into());
        }
        if crc32fast::hash(rest).to_le_bytes() != header[HEADER.len()..] {
            return Err("its checksum does not match".into());
        }
        let parts: Parts = postcard::from_bytes(rest).map_err(|error| error.to_string())?;
        Self::from_parts(plan, parts)
    }

    fn from_parts(plan: &MeasurementPlan, parts: Parts) -> Result<Self, String> {
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
            parts.cells,
            &parts.values,
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

    /// Has every summary and all windows of the given days written again, because the plan is another one now.
    pub fn announce_everything(&mut self, days: impl Iterator<Item = i32>) {
        self.dirty.days.extend(days);
        self.arms.mark_all_changed();
    }
}
