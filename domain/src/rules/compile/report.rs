//! Collects errors under the path where they stand.

use std::fmt::{Display, Write};

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

/// The errors so far and the path that is being read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    path: String,
    errors: Vec<CompileError>,
    /// How many were found, those beyond [`ERRORS_MAX`] included.
    count: usize,
}

impl Report {
    /// Does something one step further down the path.
    pub(crate) fn at<T>(&mut self, step: impl Display, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        // Writing to a text cannot fail.
        let _ = write!(self.path, "/{step}");
        let result = work(self);
        self.path.truncate(length);
        result
    }

    /// Does something at a definition that is named by its key.
    pub(crate) fn at_key<T>(&mut self, list: &str, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        self.at(list, |report| report.at(escaped, work))
    }

    /// Notes an error at the path.
    pub(crate) fn error(&mut self, message: impl Into<String>) {
        self.count = self.count.saturating_add(1);
        if self.errors.len() < ERRORS_MAX {
            let (path, message) = (self.path.clone(), message.into());
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
