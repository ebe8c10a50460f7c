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

#[derive(Serialize, Deserialize)]
struct Parts {
    horizons: Horizons,
    watermark: Instant,
    experiments: Vec<String>,
    variants: Vec<String>,
    events: Vec<String>,
    user_hashes: Vec<u64>,
    user_ends: Vec<u64>,
    user_bytes: Vec<u8>,
    first_exposures: Vec<u32>,
    last_tracks: Vec<u64>,
    exposures: Vec<Exposure>,
    exposure_texts: Vec<String>,
    free_exposures: Vec<u32>,
    values: Vec<Value>,
    free_values: Vec<u32>,
    tracks: (Vec<Track>, u64, Instant),
    arms: Vec<Arm>,
    rows: Vec<Row>,
    cells: Vec<Cell>,
    free_rows: Vec<u32>,
    closed_below: [i64; 3],
    closed_rows: Vec<Row>,
    seen: SeenParts,
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
        let parts = Parts {
            horizons: self.horizons,
            watermark: Instant(self.watermark),
            experiments: texts(&self.experiments),
            variants: texts(&self.variants),
            events: texts(&self.events),
            user_hashes,
            user_ends,
            user_bytes,
            first_exposures: self.first_exposures.clone(),
            last_tracks: self.last_tracks.clone(),
            exposures: self.exposures.clone(),
            exposure_texts: self.exposure_texts.iter().map(|text| text.to_string()).collect(),
            free_exposures: self.free_exposures.clone(),
            values: self.values.clone(),
            free_values: self.free_values.clone(),
            tracks: (tracks, first_track, Instant(self.tracks.dropped_until)),
            arms: self.arms.list().to_vec(),
            rows: self.windows.rows.clone(),
            cells: self.windows.cells.clone(),
            free_rows: self.windows.free_rows().to_vec(),
            closed_below: self.windows.closed_below,
            closed_rows: self.closed_rows.clone(),
            seen: self.seen.parts(),
            dirty: self.dirty.clone(),
            changed_exposures: self.changed_exposures.clone(),
            stale_exposure_days: self.stale_exposure_days.clone(),
            measure_count: self.measures.len() as u64,
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
        let mut engine = Self::new(plan, parts.horizons);
        engine.experiments = names(parts.experiments);
        engine.events = names(parts.events);
        engine.variants = names(parts.variants);
        engine.measures = crate::measure::Measures::compile(plan, &mut engine.experiments, &mut engine.events);
        for event in 0..engine.events.texts().len() as u32 {
            if (engine.measures.len() as u64) < parts.measure_count && engine.measures.of_event(event).is_empty() {
                engine.measures.unlimited(event);
            }
        }
        if engine.measures.len() as u64 != parts.measure_count {
            return Err("it follows another measurement plan".into());
        }
        engine.watermark = parts.watermark.0;
        engine.users = Users::from_parts(parts.user_hashes, parts.user_ends, parts.user_bytes);
        engine.first_exposures = parts.first_exposures;
        engine.last_tracks = parts.last_tracks;
        engine.exposures = parts.exposures;
        engine.exposure_texts = parts.exposure_texts.into_iter().map(String::into_boxed_str).collect();
        engine.free_exposures = parts.free_exposures;
        engine.values = parts.values;
        engine.free_values = parts.free_values;
        let (tracks, first, dropped_until) = parts.tracks;
        engine.tracks = Tracks::from_parts(tracks, first, dropped_until.0);
        engine.arms = Arms::from_list(parts.arms);
        engine.windows = Windows::from_parts(parts.rows, parts.cells, parts.free_rows, parts.closed_below);
        engine.closed_rows = parts.closed_rows;
        engine.seen = SeenIds::from_parts(parts.seen);
        engine.dirty = parts.dirty;
        engine.changed_exposures = parts.changed_exposures;
        engine.stale_exposure_days = parts.stale_exposure_days;
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
