//! Definitions as files: the whole store as one text that is reviewed in git, and back.
//!
//! A bundle holds what people decide and leaves out what happens: the status, schedule and decision of experiments, the
//! weights that bandits have learned, the progress of rollouts, the id lists of segments. Everything stands in order of
//! key, so that the same definitions always give the same text. An import is one transaction: it applies whole or not at
//! all, and its plan is made by doing it, so that nothing passes a plan and fails afterwards.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use domain::catalog::{DimensionDefinition, EnvironmentDefinition, ProjectDefinition, TagDefinition};
use domain::experiment::ExperimentDefinition;
use domain::metric::MetricDefinition;
use domain::rollout::RolloutScheduleDefinition;
use domain::rules::Ruleset;
use domain::rules::definition::{FlagDefinition, HoldoutDefinition, LayerDefinition, SegmentDefinition};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definitions::{Definition, all_in, stored};
use super::{ObjectKind, Store, Write, corrupt};
use crate::change::Change;
use crate::difference::{Difference, differences};
use crate::error::ControlError;

/// The form of bundles that this program writes, and the newest that it reads.
const FORM: u32 = 1;

/// The definitions of one kind by key, without the key in each.
type Kind = BTreeMap<String, Map<String, Value>>;

/// All declared definitions of a store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The form of the text.
    pub experimently: u32,
    /// Projects.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub projects: Kind,
    /// Environments.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub environments: Kind,
    /// Tags.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub tags: Kind,
    /// Dimensions.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub dimensions: Kind,
    /// Metrics.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub metrics: Kind,
    /// Segments.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub segments: Kind,
    /// Layers.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub layers: Kind,
    /// Holdouts.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub holdouts: Kind,
    /// Experiments.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub experiments: Kind,
    /// Feature flags.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub flags: Kind,
    /// Rollout schedules.
    #[serde(default, skip_serializing_if = "Kind::is_empty")]
    pub rollout_schedules: Kind,
}

/// What becomes of one definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It is not in the bundle and goes; it can be restored.
    Delete,
}

/// One step of an import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStep {
    /// What becomes of it.
    pub action: PlannedAction,
    /// What kind it is of.
    pub kind: ObjectKind,
    /// Its key.
    pub key: String,
    /// What changes in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Difference>,
}

/// What an import does.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ImportPlan {
    /// What is done, in order; what stays as it is does not stand here.
    pub steps: Vec<PlannedStep>,
    /// How many definitions stay as they are.
    pub unchanged: usize,
}

/// How a bundle is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportSettings {
    /// Whether what the bundle lacks is deleted.
    pub delete_others: bool,
    /// Whether the plan alone is wanted.
    pub plan_only: bool,
}

impl Bundle {
    /// The bundle as YAML.
    ///
    /// # Errors
    /// [`ControlError::BadBundle`] when it cannot be written.
    pub fn to_yaml(&self) -> Result<String, ControlError> {
        serde_saphyr::to_string(self).map_err(|error| bad(&error))
    }

    /// A bundle out of YAML.
    ///
    /// # Errors
    /// [`ControlError::BadBundle`] with the place of what does not fit.
    pub fn from_yaml(text: &str) -> Result<Self, ControlError> {
        // `on` and `off` are names of variations, not truth values.
        let options = serde_saphyr::options! { strict_booleans: true };
        let bundle: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| bad(&error))?;
        if bundle.experimently == 0 || bundle.experimently > FORM {
            let problem = format!(
                "it is of form {}; this version reads form {FORM}",
                bundle.experimently
            );
            return Err(ControlError::BadBundle { problem });
        }
        Ok(bundle)
    }
}

fn bad(error: &dyn fmt::Display) -> ControlError {
    ControlError::BadBundle {
        problem: error.to_string(),
    }
}

/// A definition without what happens to it and without its key.
fn exported<D: Definition>(definition: &D) -> Result<Map<String, Value>, ControlError> {
    let key: &str = definition.key().borrow();
    let value = serde_json::to_value(definition).map_err(corrupt(D::KIND, key))?;
    let Value::Object(mut members) = value else {
        return Ok(Map::new());
    };
    members.remove("key");
    let managed: &[&str] = match D::KIND {
        ObjectKind::Experiment => &["status", "schedule", "decision", "live_weights", "discovered"],
        ObjectKind::RolloutSchedule => &["progress"],
        _ => &[],
    };
    for member in managed {
        members.remove(*member);
    }
    Ok(members)
}

impl Store {
    /// All declared definitions.
    ///
    /// # Errors
    /// [`ControlError::Database`] or [`ControlError::Corrupt`].
    pub async fn export(&self) -> Result<Bundle, ControlError> {
        let mut write = self.begin().await?;
        let write = &mut write;
        Ok(Bundle {
            experimently: FORM,
            projects: export_kind::<ProjectDefinition>(write).await?,
            environments: export_kind::<EnvironmentDefinition>(write).await?,
            tags: export_kind::<TagDefinition>(write).await?,
            dimensions: export_kind::<DimensionDefinition>(write).await?,
            metrics: export_kind::<MetricDefinition>(write).await?,
            segments: export_kind::<SegmentDefinition>(write).await?,
            layers: export_kind::<LayerDefinition>(write).await?,
            holdouts: export_kind::<HoldoutDefinition>(write).await?,
            experiments: export_kind::<ExperimentDefinition>(write).await?,
            flags: export_kind::<FlagDefinition>(write).await?,
            rollout_schedules: export_kind::<RolloutScheduleDefinition>(write).await?,
        })
    }

    /// Makes the store as a bundle says, in one transaction, and gives what that does.
    ///
    /// With `plan_only` everything is done, checked and taken back.
    ///
    /// # Errors
    /// [`ControlError::BadBundle`] for a definition that does not read, and the variant for one that is refused: nothing
    /// is then written.
    pub async fn import(
        &self,
        bundle: &Bundle,
        settings: ImportSettings,
        change: &Change,
    ) -> Result<ImportPlan, ControlError> {
        let mut import = Import {
            store: self,
            write: self.begin().await?,
            change,
            plan: ImportPlan::default(),
        };
        import.kind::<ProjectDefinition>(&bundle.projects).await?;
        import.kind::<EnvironmentDefinition>(&bundle.environments).await?;
        import.kind::<TagDefinition>(&bundle.tags).await?;
        import.kind::<DimensionDefinition>(&bundle.dimensions).await?;
        import.kind::<MetricDefinition>(&bundle.metrics).await?;
        import.kind::<SegmentDefinition>(&bundle.segments).await?;
        import.kind::<LayerDefinition>(&bundle.layers).await?;
        import.kind::<HoldoutDefinition>(&bundle.holdouts).await?;
        import.kind::<ExperimentDefinition>(&bundle.experiments).await?;
        import.kind::<FlagDefinition>(&bundle.flags).await?;
        import
            .kind::<RolloutScheduleDefinition>(&bundle.rollout_schedules)
            .await?;
        if settings.delete_others {
            // What refers to others goes before them.
            import
                .delete_others::<RolloutScheduleDefinition>(&bundle.rollout_schedules)
                .await?;
            import.delete_others::<FlagDefinition>(&bundle.flags).await?;
            import
                .delete_others::<ExperimentDefinition>(&bundle.experiments)
                .await?;
            import
                .delete_others::<HoldoutDefinition>(&bundle.holdouts)
                .await?;
            import.delete_others::<LayerDefinition>(&bundle.layers).await?;
            import
                .delete_others::<SegmentDefinition>(&bundle.segments)
                .await?;
            import.delete_others::<MetricDefinition>(&bundle.metrics).await?;
            import
                .delete_others::<DimensionDefinition>(&bundle.dimensions)
                .await?;
            import.delete_others::<TagDefinition>(&bundle.tags).await?;
            import
                .delete_others::<EnvironmentDefinition>(&bundle.environments)
                .await?;
            import
                .delete_others::<ProjectDefinition>(&bundle.projects)
                .await?;
        }
        import.check_servable().await?;
        let Import { write, plan, .. } = import;
        if !settings.plan_only && !plan.steps.is_empty() {
            self.finish(write).await?;
            self.forget_known();
        }
        Ok(plan)
    }
}

async fn export_kind<D: Definition>(write: &mut Write) -> Result<Kind, ControlError> {
    let mut kind = Kind::new();
    for found in all_in::<D>(write).await? {
        if !found.discovered {
            let definition: D = found.definition()?;
            kind.insert(found.key, exported(&definition)?);
        }
    }
    Ok(kind)
}

/// An import under way.
struct Import<'i> {
    store: &'i Store,
    write: Write,
    change: &'i Change,
    plan: ImportPlan,
}

impl Import<'_> {
    /// Creates and changes the definitions of one kind.
    async fn kind<D: Definition>(&mut self, kind: &Kind) -> Result<(), ControlError> {
        for (key, members) in kind {
            let definition: D = read(key, members)?;
            let found = stored::<D>(&mut self.write, key).await?;
            let Some(found) = found.filter(|found| !found.discovered) else {
                self.store
                    .create_in(&mut self.write, &definition, self.change)
                    .await?;
                self.note::<D>(PlannedAction::Create, key, Vec::new());
                continue;
            };
            let before = Value::Object(exported(&found.definition::<D>()?)?);
            let after = Value::Object(exported(&definition)?);
            if before == after {
                self.plan.unchanged += 1;
                continue;
            }
            self.store
                .update_in(&mut self.write, &definition, &found, self.change)
                .await?;
            self.note::<D>(PlannedAction::Update, key, differences(&before, &after));
        }
        Ok(())
    }

    /// Deletes the declared definitions of one kind that the bundle lacks.
    async fn delete_others<D: Definition>(&mut self, kind: &Kind) -> Result<(), ControlError> {
        for found in all_in::<D>(&mut self.write).await? {
            if found.discovered || kind.contains_key(&found.key) {
                continue;
            }
            Store::delete_in::<D>(&mut self.write, &found, self.change).await?;
            self.note::<D>(PlannedAction::Delete, &found.key, Vec::new());
        }
        Ok(())
    }

    fn note<D: Definition>(&mut self, action: PlannedAction, key: &str, changes: Vec<Difference>) {
        self.plan.steps.push(PlannedStep {
            action,
            kind: D::KIND,
            key: key.to_owned(),
            changes,
        });
    }

    /// Refuses an import after which something that it touched could not be served.
    async fn check_servable(&mut self) -> Result<(), ControlError> {
        let all = Store::definitions_in(&mut self.write).await?;
        let compiled = tokio::task::spawn_blocking(move || Ruleset::compile_lenient(&all).errors).await;
        let errors = compiled.unwrap_or_default();
        let touched = |path: &str| {
            self.plan.steps.iter().any(|step| {
                let key = step.key.replace('~', "~0").replace('/', "~1");
                let prefix = format!("/{}s/{key}", step.kind);
                let rest = path.strip_prefix(&prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        match errors.iter().find(|error| touched(&error.path)) {
            None => Ok(()),
            Some(error) => Err(ControlError::BadBundle {
                problem: format!("{}: {}", error.path, error.message),
            }),
        }
    }
}

fn read<D: Definition>(key: &str, members: &Map<String, Value>) -> Result<D, ControlError> {
    let mut members = members.clone();
    members.insert("key".to_owned(), key.into());
    serde_json::from_value(Value::Object(members)).map_err(|error| ControlError::BadBundle {
        problem: format!("{} {key}: {error}", D::KIND),
    })
}

#[cfg(test)]
mod tests;
