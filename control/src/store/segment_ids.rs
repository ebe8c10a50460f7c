//! The id lists of segments: up to millions of ids each, kept as 64-bit fingerprints.
//!
//! What is kept answers membership and nothing else: the ids themselves never enter the store. A list is replaced, or
//! ids are added or taken out, in one transaction. Lists are read again only when they changed, and are shared between
//! all rulesets that use them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use domain::rules::IdSet;
use domain::rules::definition::SegmentDefinition;
use domain::{SegmentKey, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::definitions::{missing, stored};
use super::{Entry, ObjectKind, Store, Write, corrupt, failed};
use crate::change::Change;
use crate::error::ControlError;

/// The most ids of a segment: ten million take a hundred megabytes of memory in every process.
pub const SEGMENT_IDS_MAX: usize = 10_000_000;

/// Fingerprints in a stored part: half a megabyte, which SQLite reads in one go.
const PART_FINGERPRINTS: usize = 65_536;

/// What becomes of a segment's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdListChange {
    /// These ids instead of those before.
    Replace,
    /// These ids besides those before.
    Add,
    /// Those before without these.
    Remove,
}

/// The list of a segment as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IdListSummary {
    /// How many ids it holds.
    pub ids: u64,
    /// One more with each change; 0 before the first.
    pub generation: i64,
    /// When it was last changed; absent before the first.
    pub updated_at: Option<Timestamp>,
}

/// The lists that were read, by segment, each with its generation.
pub(super) type ReadLists = BTreeMap<SegmentKey, (i64, Arc<IdSet>)>;

impl Store {
    /// Changes the id list of a segment by fingerprints (see [`IdSet::fingerprint`]), in any order.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] without the segment, [`ControlError::TooManyIds`].
    pub async fn change_segment_ids(
        &self,
        segment: &SegmentKey,
        how: IdListChange,
        fingerprints: Vec<u64>,
        change: &Change,
    ) -> Result<IdListSummary, ControlError> {
        let mut write = self.begin().await?;
        let key = segment.as_str();
        if stored::<SegmentDefinition>(&mut write, key).await?.is_none() {
            return Err(missing(ObjectKind::Segment, key));
        }
        let before = summary_in(&mut write, key).await?;
        let had = match how {
            IdListChange::Replace => Vec::new(),
            IdListChange::Add | IdListChange::Remove => read_list(&mut *write, key).await?,
        };
        let merged = tokio::task::spawn_blocking(move || merge(had, fingerprints, how)).await;
        let list = merged.map_err(corrupt(ObjectKind::Segment, key))?;
        if list.len() > SEGMENT_IDS_MAX {
            let (segment, count) = (segment.clone(), list.len());
            return Err(ControlError::TooManyIds { segment, count });
        }
        let after = IdListSummary {
            ids: list.len() as u64,
            generation: before.generation + 1,
            updated_at: Some(change.at),
        };
        write_list(&mut write, key, &list).await?;
        write_summary(&mut write, key, after).await?;
        // The record tells how many; ids are personal and stay out of it.
        let texts = [before, after].map(|summary| serde_json::json!({"ids": summary.ids}).to_string());
        let entry = Entry {
            action: match how {
                IdListChange::Replace => "replace_ids",
                IdListChange::Add => "add_ids",
                IdListChange::Remove => "remove_ids",
            },
            kind: ObjectKind::Segment,
            key,
            before: Some(&texts[0]),
            after: Some(&texts[1]),
        };
        Self::record(&mut write, entry, change).await?;
        self.commit(write).await?;
        Ok(after)
    }

    /// How long the id list of a segment is.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] without the segment.
    pub async fn segment_ids(&self, segment: &SegmentKey) -> Result<IdListSummary, ControlError> {
        self.get::<SegmentDefinition>(segment).await?;
        let row = sqlx::query("SELECT generation, ids, updated_at FROM segment_lists WHERE segment = $1")
            .bind(segment.as_str())
            .fetch_optional(self.readers())
            .await
            .map_err(failed("read the id list of a segment"))?;
        row.as_ref().map_or(Ok(EMPTY), read_summary)
    }

    /// Whether an id stands in the list of a segment; its rules are not looked at.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] without the segment.
    pub async fn segment_lists_id(&self, segment: &SegmentKey, id: &str) -> Result<bool, ControlError> {
        self.get::<SegmentDefinition>(segment).await?;
        let sets = self.id_sets().await?;
        Ok(sets.get(segment).is_some_and(|set| set.contains(id)))
    }

    /// The lists of all segments, those that have not changed as they were read before.
    pub(super) async fn id_sets(&self) -> Result<BTreeMap<SegmentKey, Arc<IdSet>>, ControlError> {
        let rows = sqlx::query("SELECT segment, generation FROM segment_lists WHERE ids > 0")
            .fetch_all(self.readers())
            .await
            .map_err(failed("read the id lists of segments"))?;
        let mut present = BTreeSet::new();
        for row in rows {
            let read = || -> Result<(String, i64), sqlx::Error> {
                Ok((row.try_get("segment")?, row.try_get("generation")?))
            };
            let (text, generation) = read().map_err(failed("read the id lists of segments"))?;
            let key = SegmentKey::new(&text).map_err(corrupt(ObjectKind::Segment, &text))?;
            present.insert(key.clone());
            let known = self
                .read_lists()
                .get(&key)
                .is_some_and(|(known, _)| *known == generation);
            if known {
                continue;
            }
            let list = read_list(self.readers(), &text).await?;
            let built = tokio::task::spawn_blocking(move || IdSet::from_fingerprints(list)).await;
            let set = built.map_err(corrupt(ObjectKind::Segment, &text))?;
            // A list that changed between the two reads is read again after the notice of that change.
            self.read_lists().insert(key, (generation, Arc::new(set)));
        }
        let mut lists = self.read_lists();
        lists.retain(|key, _| present.contains(key));
        Ok(lists
            .iter()
            .map(|(key, (_, set))| (key.clone(), Arc::clone(set)))
            .collect())
    }

    fn read_lists(&self) -> std::sync::MutexGuard<'_, ReadLists> {
        // A panic while it is held leaves at worst a list to be read again.
        self.shared.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A list that nobody has written.
const EMPTY: IdListSummary = IdListSummary {
    ids: 0,
    generation: 0,
    updated_at: None,
};

/// The list after a change, sorted and without repetitions.
fn merge(had: Vec<u64>, mut given: Vec<u64>, how: IdListChange) -> Vec<u64> {
    given.sort_unstable();
    given.dedup();
    match how {
        IdListChange::Replace => given,
        IdListChange::Add => {
            given.extend(had);
            given.sort_unstable();
            given.dedup();
            given
        }
        IdListChange::Remove => {
            let mut kept = had;
            kept.retain(|fingerprint| given.binary_search(fingerprint).is_err());
            kept
        }
    }
}

fn read_summary(row: &sqlx::any::AnyRow) -> Result<IdListSummary, ControlError> {
    let read = || -> Result<IdListSummary, sqlx::Error> {
        let ids: i64 = row.try_get("ids")?;
        Ok(IdListSummary {
            ids: u64::try_from(ids).unwrap_or(0),
            generation: row.try_get("generation")?,
            updated_at: Some(Timestamp(row.try_get("updated_at")?)),
        })
    };
    read().map_err(failed("read the id list of a segment"))
}

async fn summary_in(write: &mut Write, segment: &str) -> Result<IdListSummary, ControlError> {
    let row = sqlx::query("SELECT generation, ids, updated_at FROM segment_lists WHERE segment = $1")
        .bind(segment)
        .fetch_optional(&mut **write)
        .await
        .map_err(failed("read the id list of a segment"))?;
    row.as_ref().map_or(Ok(EMPTY), read_summary)
}

async fn read_list<'e, E>(executor: E, segment: &str) -> Result<Vec<u64>, ControlError>
where
    E: sqlx::Executor<'e, Database = sqlx::Any>,
{
    let rows = sqlx::query("SELECT fingerprints FROM segment_ids WHERE segment = $1 ORDER BY part")
        .bind(segment)
        .fetch_all(executor)
        .await
        .map_err(failed("read the id list of a segment"))?;
    let mut list = Vec::with_capacity(rows.len() * PART_FINGERPRINTS);
    for row in rows {
        let part: Vec<u8> = row
            .try_get("fingerprints")
            .map_err(failed("read the id list of a segment"))?;
        let (whole, _) = part.as_chunks::<8>();
        list.extend(whole.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    }
    Ok(list)
}

async fn write_list(write: &mut Write, segment: &str, list: &[u64]) -> Result<(), ControlError> {
    sqlx::query("DELETE FROM segment_ids WHERE segment = $1")
        .bind(segment)
        .execute(&mut **write)
        .await
        .map_err(failed("write the id list of a segment"))?;
    for (part, fingerprints) in list.chunks(PART_FINGERPRINTS).enumerate() {
        let bytes: Vec<u8> = fingerprints
            .iter()
            .flat_map(|fingerprint| fingerprint.to_le_bytes())
            .collect();
        sqlx::query("INSERT INTO segment_ids (segment, part, fingerprints) VALUES ($1, $2, $3)")
            .bind(segment)
            .bind(i64::try_from(part).unwrap_or(i64::MAX))
            .bind(bytes)
            .execute(&mut **write)
            .await
            .map_err(failed("write the id list of a segment"))?;
    }
    Ok(())
}

async fn write_summary(write: &mut Write, segment: &str, summary: IdListSummary) -> Result<(), ControlError> {
    sqlx::query(
        "INSERT INTO segment_lists (segment, generation, ids, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (segment) DO UPDATE SET generation = excluded.generation, ids = excluded.ids,
           updated_at = excluded.updated_at",
    )
    .bind(segment)
    .bind(summary.generation)
    .bind(i64::try_from(summary.ids).unwrap_or(i64::MAX))
    .bind(summary.updated_at.map(|at| at.0))
    .execute(&mut **write)
    .await
    .map(drop)
    .map_err(failed("write the id list of a segment"))
}
