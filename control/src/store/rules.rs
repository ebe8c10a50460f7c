//! What decides who gets what, read as a whole: for serving, and to see whether a change would still be servable.

use domain::experiment::ExperimentDefinition;
use domain::rules::definition::{
    Definitions, FlagDefinition, HoldoutDefinition, LayerDefinition, SegmentDefinition,
};
use domain::rules::{CompileError, Ruleset};
use sqlx::Row;

use super::definitions::{Definition, Stored, all_in};
use super::{Document, Store, Write, failed};
use crate::error::ControlError;

impl Store {
    /// Everything that decides who gets what, with the id lists of segments, as of `version`.
    ///
    /// # Errors
    /// [`ControlError::Database`], or [`ControlError::Corrupt`] naming the first definition that does not read.
    pub async fn definitions(&self, version: u64) -> Result<Definitions, ControlError> {
        let mut definitions = assemble(
            plain(self.all::<FlagDefinition>().await?),
            &plain(self.all::<ExperimentDefinition>().await?),
            plain(self.all::<SegmentDefinition>().await?),
            plain(self.all::<LayerDefinition>().await?),
            plain(self.all::<HoldoutDefinition>().await?),
        );
        definitions.version = version;
        definitions.id_sets = self.id_sets().await?;
        Ok(definitions)
    }

    /// The number of the last write to anything that decides who gets what: it grows with each, survives restarts, and is
    /// the same for every process on the store. 0 before the first.
    ///
    /// # Errors
    /// [`ControlError::Database`].
    pub async fn definitions_version(&self) -> Result<u64, ControlError> {
        let row = sqlx::query(
            "SELECT max(seq) AS newest FROM (
               SELECT max(seq) AS seq FROM audit WHERE kind = 'flag'
               UNION ALL SELECT max(seq) FROM audit WHERE kind = 'experiment'
               UNION ALL SELECT max(seq) FROM audit WHERE kind = 'segment'
               UNION ALL SELECT max(seq) FROM audit WHERE kind = 'layer'
               UNION ALL SELECT max(seq) FROM audit WHERE kind = 'holdout') AS newest_of_each",
        )
        .fetch_one(self.readers())
        .await
        .map_err(failed("read the version of the definitions"))?;
        let newest: Option<i64> = row
            .try_get("newest")
            .map_err(failed("read the version of the definitions"))?;
        Ok(newest.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
    }

    /// What stands in a definition's way when it is compiled among all others, each with its place in the definition;
    /// nothing when it can be served, or does not decide who gets what.
    ///
    /// # Errors
    /// [`ControlError`] when the store cannot be read.
    pub async fn compile_errors<D: Definition>(
        &self,
        definition: &D,
    ) -> Result<Vec<CompileError>, ControlError> {
        if definition.place(&mut Definitions::default()).is_none() {
            return Ok(Vec::new());
        }
        let all = assemble(
            plain(self.all::<FlagDefinition>().await?),
            &plain(self.all::<ExperimentDefinition>().await?),
            plain(self.all::<SegmentDefinition>().await?),
            plain(self.all::<LayerDefinition>().await?),
            plain(self.all::<HoldoutDefinition>().await?),
        );
        Ok(errors_of(all, definition).await)
    }

    /// [`Store::compile_errors`] as a write sees it.
    pub(crate) async fn compile_errors_in<D: Definition>(
        write: &mut Write,
        definition: &D,
    ) -> Result<Vec<CompileError>, ControlError> {
        let all = Self::definitions_in(write).await?;
        Ok(errors_of(all, definition).await)
    }

    /// Everything that decides who gets what as a write sees it, without the id lists of segments.
    pub(crate) async fn definitions_in(write: &mut Write) -> Result<Definitions, ControlError> {
        Ok(assemble(
            read_in(write).await?,
            &read_in(write).await?,
            read_in(write).await?,
            read_in(write).await?,
            read_in(write).await?,
        ))
    }
}

fn plain<D>(documents: Vec<Document<D>>) -> Vec<D> {
    documents
        .into_iter()
        .map(|document| document.definition)
        .collect()
}

async fn read_in<D: Definition>(write: &mut Write) -> Result<Vec<D>, ControlError> {
    all_in::<D>(write).await?.iter().map(Stored::definition).collect()
}

fn assemble(
    flags: Vec<FlagDefinition>,
    experiments: &[ExperimentDefinition],
    segments: Vec<SegmentDefinition>,
    layers: Vec<LayerDefinition>,
    holdouts: Vec<HoldoutDefinition>,
) -> Definitions {
    Definitions {
        flags,
        experiments: experiments.iter().map(Into::into).collect(),
        segments,
        layers,
        holdouts,
        ..Definitions::default()
    }
}

async fn errors_of<D: Definition>(mut all: Definitions, definition: &D) -> Vec<CompileError> {
    let Some(list) = definition.place(&mut all) else {
        return Vec::new();
    };
    let key: &str = std::borrow::Borrow::borrow(definition.key());
    let prefix = format!("/{list}/{}", key.replace('~', "~0").replace('/', "~1"));
    // Ten thousand flags take a fifth of a second: too long for the threads that answer requests.
    let compiled = tokio::task::spawn_blocking(move || Ruleset::compile_lenient(&all).errors).await;
    // A panic of the compiler is a defect that serving shows too; it must not keep people from mending a definition.
    let errors = compiled.unwrap_or_default().into_iter();
    errors
        .filter_map(|error| {
            let path = error.path.strip_prefix(&prefix)?;
            let inside = path.is_empty() || path.starts_with('/');
            inside.then(|| CompileError {
                path: path.to_owned(),
                message: error.message,
            })
        })
        .collect()
}
