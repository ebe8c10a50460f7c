//! Writes of definitions inside a transaction, so that several go together.

use std::borrow::Borrow;

use super::super::{Entry, Store, Write};
use super::rows::{self, Stored};
use super::{Definition, insert, references, replace, stored, to_text};
use super::{exists, missing};
use crate::change::Change;
use crate::error::ControlError;

/// What a write left behind.
pub(in crate::store) struct Written {
    pub(in crate::store) stored: Stored,
}

impl Store {
    /// Writes a new definition with its audit record. One that was only discovered is replaced.
    pub(in crate::store) async fn create_in<D: Definition>(
        &self,
        write: &mut Write,
        definition: &D,
        change: &Change,
    ) -> Result<Written, ControlError> {
        let mut definition = definition.clone();
        // Before the check, which is milder with what was discovered.
        definition.set_discovered(false);
        let key: &str = definition.key().borrow();
        let before = stored::<D>(write, key).await?;
        if before.as_ref().is_some_and(|found| !found.discovered) {
            return Err(exists(D::KIND, key));
        }
        definition.prepare(None)?;
        definition.check()?;
        references::check(write, &definition).await?;
        let document = to_text(&definition)?;
        let key: &str = definition.key().borrow();
        let stored = match &before {
            None => insert(write, &definition, &document, false, change.at).await?,
            Some(found) => replace(write, (found, &definition), &document, change.at).await?,
        };
        let entry = Entry {
            action: if before.is_some() { "update" } else { "create" },
            kind: D::KIND,
            key,
            before: before.as_ref().map(|found| found.document.as_str()),
            after: Some(&document),
        };
        Self::record(write, entry, change).await?;
        self.written(write, None, &definition, change).await?;
        Ok(Written { stored })
    }

    /// Replaces a definition by what a person wrote, with its audit record.
    pub(in crate::store) async fn update_in<D: Definition>(
        &self,
        write: &mut Write,
        definition: &D,
        before: &Stored,
        change: &Change,
    ) -> Result<Written, ControlError> {
        let mut definition = definition.clone();
        definition.set_discovered(false);
        let previous: D = before.definition()?;
        definition.prepare(Some(&previous))?;
        self.put_in(write, (before, "update"), &definition, change).await
    }

    /// Replaces a definition as it is given, with its audit record: for changes that the platform prepared.
    pub(in crate::store) async fn put_in<D: Definition>(
        &self,
        write: &mut Write,
        (before, action): (&Stored, &'static str),
        definition: &D,
        change: &Change,
    ) -> Result<Written, ControlError> {
        definition.check()?;
        references::check(write, definition).await?;
        let document = to_text(definition)?;
        let stored = replace(write, (before, definition), &document, change.at).await?;
        let entry = Entry {
            action,
            kind: D::KIND,
            key: &before.key,
            before: Some(&before.document),
            after: Some(&document),
        };
        Self::record(write, entry, change).await?;
        let previous: D = before.definition()?;
        self.written(write, Some(&previous), definition, change).await?;
        Ok(Written { stored })
    }

    /// Marks a definition as deleted, with its audit record.
    pub(in crate::store) async fn delete_in<D: Definition>(
        write: &mut Write,
        before: &Stored,
        change: &Change,
    ) -> Result<(), ControlError> {
        let (kind, key) = (D::KIND, before.key.clone());
        if !before.discovered {
            before.definition::<D>()?.check_deletable()?;
        }
        if let Some(used_by) = references::used_by(write, kind, &key).await? {
            return Err(ControlError::InUse { kind, key, used_by });
        }
        rows::mark_deleted::<D>(write, before, change.at).await?;
        Self::clear_timers(write, kind, &key).await?;
        let entry = Entry {
            action: "delete",
            kind,
            key: &key,
            before: Some(&before.document),
            after: None,
        };
        Self::record(write, entry, change).await
    }

    /// Brings a deleted definition back, with its audit record.
    pub(in crate::store) async fn restore_in<D: Definition>(
        &self,
        write: &mut Write,
        key: &str,
        change: &Change,
    ) -> Result<Written, ControlError> {
        let found = rows::stored_or_deleted::<D>(write, key).await?;
        let found = found.ok_or_else(|| missing(D::KIND, key))?;
        if stored::<D>(write, key).await?.is_some() {
            return Err(exists(D::KIND, key));
        }
        let definition: D = found.definition()?;
        references::check(write, &definition).await?;
        let document = found.document.clone();
        let stored = rows::replace_as(
            write,
            (&found, &definition),
            &document,
            found.discovered,
            change.at,
        )
        .await?;
        let entry = Entry {
            action: "restore",
            kind: D::KIND,
            key,
            before: None,
            after: Some(&document),
        };
        Self::record(write, entry, change).await?;
        self.written(write, None, &definition, change).await?;
        Ok(Written { stored })
    }

    /// Does what goes with a written definition: guardrails are re-armed, phases recorded, timers set.
    async fn written<D: Definition>(
        &self,
        write: &mut Write,
        previous: Option<&D>,
        definition: &D,
        change: &Change,
    ) -> Result<(), ControlError> {
        if let Some(flag) = definition.as_flag() {
            Self::rearm(write, flag, change).await?;
        }
        if let Some(experiment) = definition.as_experiment() {
            let previous = previous.and_then(|previous| previous.as_experiment());
            self.follow_phases(write, previous, experiment, change).await?;
            Self::set_experiment_timers(write, previous, experiment, change.at).await?;
        }
        if let Some(rollout) = definition.as_rollout() {
            Self::set_rollout_timer(write, rollout, change.at).await?;
        }
        Ok(())
    }

    /// Makes a write of definitions true, and wakes whoever waits for its messages.
    pub(crate) async fn finish(&self, write: Write) -> Result<(), ControlError> {
        self.commit(write).await?;
        self.wake_worker();
        Ok(())
    }
}
