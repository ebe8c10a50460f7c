//! Rollout schedules and their flags within a write.
//!
//! What the platform prepared is written without asking again what a person may write: a rollback must never fail
//! because a flag has changed meanwhile.

use domain::rollout::RolloutScheduleDefinition;
use domain::rules::definition::FlagDefinition;
use domain::{FlagKey, RolloutScheduleKey};

use super::definitions::{all_in, at_version, missing, replace, stored, to_text};
use super::{Document, Entry, ObjectKind, Store, Write};
use crate::change::Change;
use crate::error::ControlError;

impl Store {
    /// A rollout schedule as a write sees it, at the version that the caller has seen.
    pub(crate) async fn rollout_in(
        write: &mut Write,
        key: &RolloutScheduleKey,
        expected_version: Option<i64>,
    ) -> Result<Document<RolloutScheduleDefinition>, ControlError> {
        let found = match expected_version {
            Some(expected) => at_version::<RolloutScheduleDefinition>(write, key.as_str(), expected).await?,
            None => stored::<RolloutScheduleDefinition>(write, key.as_str())
                .await?
                .ok_or_else(|| missing(ObjectKind::RolloutSchedule, key.as_str()))?,
        };
        found.into_document()
    }

    /// The rollout schedules of a flag.
    pub(crate) async fn rollouts_on(
        write: &mut Write,
        flag: &FlagKey,
    ) -> Result<Vec<Document<RolloutScheduleDefinition>>, ControlError> {
        let mut found = Vec::new();
        for stored in all_in::<RolloutScheduleDefinition>(write).await? {
            let document: Document<RolloutScheduleDefinition> = stored.into_document()?;
            if document.definition.flag == *flag {
                found.push(document);
            }
        }
        Ok(found)
    }

    /// Replaces a rollout schedule, with its audit record and its timer.
    pub(crate) async fn put_rollout(
        write: &mut Write,
        before: &Document<RolloutScheduleDefinition>,
        action: &'static str,
        after: &RolloutScheduleDefinition,
        change: &Change,
    ) -> Result<Document<RolloutScheduleDefinition>, ControlError> {
        let key = after.key.as_str();
        let found = at_version::<RolloutScheduleDefinition>(write, key, before.version).await?;
        let document = to_text(after)?;
        let made = replace(write, (&found, after), &document, change.at).await?;
        let entry = Entry {
            action,
            kind: ObjectKind::RolloutSchedule,
            key,
            before: Some(&found.document),
            after: Some(&document),
        };
        Self::record(write, entry, change).await?;
        Self::set_rollout_timer(write, after, change.at).await?;
        made.into_document()
    }

    /// A flag as a write sees it.
    pub(crate) async fn flag_in(write: &mut Write, key: &FlagKey) -> Result<FlagDefinition, ControlError> {
        let found = stored::<FlagDefinition>(write, key.as_str()).await?;
        found
            .ok_or_else(|| missing(ObjectKind::Flag, key.as_str()))?
            .definition()
    }

    /// Replaces a flag by what the platform made of it, with its audit record.
    pub(crate) async fn replace_flag(
        write: &mut Write,
        flag: &FlagDefinition,
        action: &'static str,
        change: &Change,
    ) -> Result<(), ControlError> {
        let key = flag.key.as_str();
        let found = stored::<FlagDefinition>(write, key).await?;
        let found = found.ok_or_else(|| missing(ObjectKind::Flag, key))?;
        let document = to_text(flag)?;
        replace(write, (&found, flag), &document, change.at).await?;
        let entry = Entry {
            action,
            kind: ObjectKind::Flag,
            key,
            before: Some(&found.document),
            after: Some(&document),
        };
        Self::record(write, entry, change).await
    }
}
