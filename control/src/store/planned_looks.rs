//! The looks of experiments whose plan decides at looks: what the engine knew at each, kept for good.

use domain::ExperimentKey;
use domain::results::ExperimentSummary;
use sqlx::Row;

use super::audit::Entry;
use super::{ObjectKind, Store, Write, corrupt, failed};
use crate::change::Change;
use crate::error::ControlError;

/// How far the looks of an experiment have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LooksSoFar {
    /// How many were taken.
    pub(crate) count: u64,
    /// Users exposed at the last one; 0 before the first.
    pub(crate) units: u64,
}

impl Store {
    /// What the engine knew at each look that was taken of an experiment, in order.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn planned_looks(&self, key: &ExperimentKey) -> Result<Vec<ExperimentSummary>, ControlError> {
        let rows = sqlx::query("SELECT summary FROM experiment_looks WHERE experiment = $1 ORDER BY number")
            .bind(key.as_str())
            .fetch_all(self.readers())
            .await
            .map_err(failed("read the looks of an experiment"))?;
        let mut looks = Vec::with_capacity(rows.len());
        for row in rows {
            let summary: String = row
                .try_get("summary")
                .map_err(failed("read the looks of an experiment"))?;
            let read = serde_json::from_str(&summary);
            looks.push(read.map_err(corrupt(ObjectKind::Experiment, key.as_str()))?);
        }
        Ok(looks)
    }

    /// How far the looks have come, as a write sees it.
    pub(crate) async fn looks_so_far(
        write: &mut Write,
        key: &ExperimentKey,
    ) -> Result<LooksSoFar, ControlError> {
        let row = sqlx::query(
            "SELECT count(*) AS looks, coalesce(max(units), 0) AS units FROM experiment_looks
             WHERE experiment = $1",
        )
        .bind(key.as_str())
        .fetch_one(&mut **write)
        .await
        .map_err(failed("read the looks of an experiment"))?;
        let number = |column: &str| -> Result<u64, ControlError> {
            let value: i64 = row
                .try_get(column)
                .map_err(failed("read the looks of an experiment"))?;
            Ok(u64::try_from(value).unwrap_or_default())
        };
        Ok(LooksSoFar {
            count: number("looks")?,
            units: number("units")?,
        })
    }

    /// Keeps a look with its audit record.
    pub(crate) async fn add_look(
        write: &mut Write,
        number: u64,
        summary: &ExperimentSummary,
        change: &Change,
    ) -> Result<(), ControlError> {
        let key = summary.experiment.as_str();
        let text = serde_json::to_string(summary).map_err(corrupt(ObjectKind::Experiment, key))?;
        let stored = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO experiment_looks (experiment, number, taken_at, units, summary)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(key)
        .bind(stored(number))
        .bind(change.at.0)
        .bind(stored(summary.exposed()))
        .bind(&text)
        .execute(&mut **write)
        .await
        .map_err(failed("keep a look"))?;
        let entry = Entry {
            action: "look",
            kind: ObjectKind::Experiment,
            key,
            before: None,
            after: Some(&text),
        };
        Self::record(write, entry, change).await
    }
}
