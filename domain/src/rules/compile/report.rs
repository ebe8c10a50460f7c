//! Collects errors under the path where they stand.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

/// The most errors that are collected: enough to mend a file, few enough to send.
const ERRORS_MAX: usize = 1_000;

/// One thing that is wrong with the definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{path}: {message}")]
pub struct CompileError {
    /// Where: a JSON pointer in which flags, experiments and so on stand under their keys, as in
    /// `/flags/checkout/rules/0/condition/all/1/value`.
    pub path: String,
    /// What: a lowercase phrase.
    pub message: String,
}

/// One step of a path. Steps become text only where there is an error.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Name(&'static str),
    Index(usize),
    Key(String),
}

impl From<&'static str> for Step {
    fn from(name: &'static str) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl Display for Step {
    /// The step as RFC 6901 writes it.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Index(index) => index.fmt(formatter),
            Self::Key(key) => formatter.write_str(&key.replace('~', "~0").replace('/', "~1")),
        }
    }
}

/// The errors so far and the path that is being read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    path: Vec<Step>,
    errors: Vec<CompileError>,
    /// How many were found, those beyond [`ERRORS_MAX`] included.
    count: usize,
}

impl Report {
    /// Does something one step further down the path.
    pub(crate) fn at<T>(&mut self, step: impl Into<Step>, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.into());
        let result = work(self);
        self.path.pop();
        result
    }

    /// Does something at a definition that is named by its key.
    pub(crate) fn at_key<T>(
        &mut self,
        list: &'static str,
        key: &str,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.at(list, |report| report.at(Step::Key(key.to_owned()), work))
    }

    /// Notes an error at the path.
    pub(crate) fn error(&mut self, message: impl Into<String>) {
        self.count = self.count.saturating_add(1);
        if self.errors.len() < ERRORS_MAX {
            let path = self.path.iter().map(|step| format!("/{step}")).collect();
            let message = message.into();
            self.errors.push(CompileError { path, message });
        }
    }

    /// Keeps a value or notes why there is none.
    pub(crate) fn keep<T, E: Into<String>>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|message| self.error(message)).ok()
    }

    /// How many errors were found so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn into_errors(self) -> Vec<CompileError> {
        self.errors
    }
}
