//! Compilation: checks what the definitions' types cannot say and builds the ruleset.
//!
//! Every error is reported with its path. What is in error, and what rests on it, is left out; everything
//! else is compiled all the same.

mod conditions;
mod experiments;
mod flags;
mod references;
mod report;

use super::definition::Definitions;
use super::ruleset::Ruleset;
use references::{Names, Node};

pub use report::CompileError;
pub(crate) use report::{Report, Step};

/// The longest salt in bytes.
const SALT_MAX_BYTES: usize = 512;

/// A ruleset of what is valid, and the errors of the rest.
#[derive(Debug)]
pub struct Compiled {
    /// What can be served. A flag in error answers `ERROR` with
    /// [`InvalidDefinition`](super::EvaluationError).
    pub ruleset: Ruleset,
    /// What is wrong, in the order of the definitions' parts.
    pub errors: Vec<CompileError>,
}

impl Ruleset {
    /// Compiles definitions that must all be valid, as when they are saved.
    ///
    /// # Errors
    /// Every [`CompileError`] that was found.
    pub fn compile(definitions: &Definitions) -> Result<Self, Vec<CompileError>> {
        let compiled = Self::compile_lenient(definitions);
        if compiled.errors.is_empty() {
            Ok(compiled.ruleset)
        } else {
            Err(compiled.errors)
        }
    }

    /// Compiles what is valid, as when they are served: one bad flag never stops the others.
    pub fn compile_lenient(definitions: &Definitions) -> Compiled {
        let mut report = Report::default();
        let names = Names::collect(definitions, &mut report);
        let populations = experiments::Populations::collect(definitions, &mut report);
        let mut builder = Builder::new(definitions, names, populations);
        for node in references::order(&builder.names, &mut report) {
            builder.build(node, &mut report);
        }
        builder.finish(report)
    }
}

/// What is being built, node by node, with everything that a node rests on built before it.
struct Builder<'d> {
    definitions: &'d Definitions,
    names: Names<'d>,
    populations: experiments::Populations<'d>,
    ruleset: Ruleset,
}

impl<'d> Builder<'d> {
    fn new(
        definitions: &'d Definitions,
        names: Names<'d>,
        populations: experiments::Populations<'d>,
    ) -> Self {
        let mut ruleset = Ruleset {
            version: definitions.version,
            flag_index: names.flags.iter().map(|(key, at)| ((*key).into(), *at)).collect(),
            experiment_index: names
                .experiments
                .iter()
                .map(|(key, at)| ((*key).into(), *at))
                .collect(),
            ..Ruleset::default()
        };
        ruleset.flags.resize_with(definitions.flags.len(), || None);
        ruleset
            .experiments
            .resize_with(definitions.experiments.len(), || None);
        ruleset.segments.resize_with(definitions.segments.len(), || None);
        Self {
            definitions,
            names,
            populations,
            ruleset,
        }
    }

    /// Compiles one node and keeps it when it is without error.
    fn build(&mut self, node: Node, report: &mut Report) {
        let before = report.count();
        match node {
            Node::Segment(at) => {
                let segment = self.segment(at, report);
                if let Some(place) = self.ruleset.segments.get_mut(at) {
                    *place = segment.filter(|_| report.count() == before);
                }
            }
            Node::Experiment(at) => {
                let experiment = self.experiment(at, report);
                if let Some(place) = self.ruleset.experiments.get_mut(at) {
                    *place = experiment.filter(|_| report.count() == before);
                }
            }
            Node::Flag(at) => {
                let flag = self.flag(at, report);
                if let Some(place) = self.ruleset.flags.get_mut(at) {
                    *place = flag.filter(|_| report.count() == before);
                }
            }
        }
    }

    fn finish(self, report: Report) -> Compiled {
        Compiled {
            ruleset: self.ruleset,
            errors: report.into_errors(),
        }
    }
}

/// The salt that counts, when it is short enough.
fn salt<'t>(own: Option<&'t String>, key: &'t str, report: &mut Report) -> &'t str {
    let salt = own.map_or(key, String::as_str);
    if salt.len() > SALT_MAX_BYTES {
        report.at("salt", |report| {
            report.error(format!("a salt has at most {SALT_MAX_BYTES} bytes"))
        });
    }
    salt
}

#[cfg(test)]
mod tests;
