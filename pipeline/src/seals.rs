//! Sealed experiments: what is known of those whose first events are gone, so that nothing can compute them again.
//!
//! The seals stand in one file beside the manifests, replaced whole. It is written before the first event goes, and the
//! measurement plan that is followed is the one that was asked for and these seals: a crash between any two steps leaves a lake
//! whose sealed experiments are measured no more and keep their rows.

use std::collections::BTreeMap;

use domain::metric::MeasurementPlan;
use domain::results::ExperimentSummary;
use domain::{ExperimentKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::PipelineError;
use crate::lake::Root;

/// The version of the file's form; a newer one is refused.
const SEALS_VERSION: u32 = 1;
/// Where the seals stand.
const SEALS_PATH: &str = "state/sealed.json";

/// One experiment that is measured no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seal {
    /// When it was sealed, by the clock of the server.
    pub sealed_at: Timestamp,
    /// When the last exposure to it came, by the same clock.
    pub last_exposure_at: Timestamp,
    /// What it came to; absent once its rows in `windows` and `summaries` are gone too.
    pub summary: Option<ExperimentSummary>,
}

/// All sealed experiments of a lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seals {
    /// The version of this form.
    version: u32,
    /// When the state was last made again from the events that are left; absent before the first time.
    pub renewed_at: Option<Timestamp>,
    /// The experiments.
    pub experiments: BTreeMap<ExperimentKey, Seal>,
}

impl Default for Seals {
    fn default() -> Self {
        Self {
            version: SEALS_VERSION,
            renewed_at: None,
            experiments: BTreeMap::new(),
        }
    }
}

impl Seals {
    /// The seals of the lake under a root; none where nothing was ever sealed.
    ///
    /// # Errors
    /// [`PipelineError::BadState`] when the file is damaged, or of a newer form.
    pub async fn read(root: &Root) -> Result<Self, PipelineError> {
        let Some(bytes) = root.get(SEALS_PATH).await? else {
            return Ok(Self::default());
        };
        let bad = |why: String| PipelineError::BadState {
            path: SEALS_PATH.into(),
            why,
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(SEALS_VERSION)) {
            let version = version.map_or_else(|| "no version".into(), |version| format!("version {version}"));
            return Err(bad(format!(
                "it has {version}, this program reads version {SEALS_VERSION}"
            )));
        }
        serde_json::from_value(value).map_err(|error| bad(error.to_string()))
    }

    /// Puts these seals in the place of those that stand.
    ///
    /// # Errors
    /// When they cannot be made durable.
    pub async fn write(&self, root: &Root) -> Result<(), PipelineError> {
        let bytes = serde_json::to_vec(self).expect("seals have only text keys and finite numbers");
        root.put(SEALS_PATH, bytes.into()).await
    }

    /// A plan with these experiments sealed, whatever it says of seals itself.
    pub fn over(&self, plan: &MeasurementPlan) -> MeasurementPlan {
        MeasurementPlan {
            sealed: self.experiments.keys().cloned().collect(),
            ..plan.clone()
        }
    }

    /// Up to which event time each sealed experiment is complete; the time of its seal where only that is left.
    pub fn complete_until(&self) -> BTreeMap<ExperimentKey, Timestamp> {
        let until = |seal: &Seal| {
            seal.summary
                .as_ref()
                .map_or(seal.sealed_at, |summary| summary.as_of)
        };
        let seals = self.experiments.iter();
        seals.map(|(key, seal)| (key.clone(), until(seal))).collect()
    }

    /// Adds what the sealed experiments came to, which the engine knows nothing of.
    pub fn complete(&self, summaries: &mut BTreeMap<ExperimentKey, ExperimentSummary>) {
        for (key, seal) in &self.experiments {
            if let Some(summary) = &seal.summary {
                summaries.insert(key.clone(), summary.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn seals_are_read_back_and_a_newer_form_is_refused() {
        // What must never change: a file that is not understood is never taken for none, or sealed rows would be written over.
        let folder = tempfile::tempdir().unwrap();
        let root = Root::folder(folder.path()).unwrap();
        assert_eq!(Seals::read(&root).await.unwrap(), Seals::default());
        let key = ExperimentKey::new("checkout").unwrap();
        let seal = Seal {
            sealed_at: Timestamp(9_000_000),
            last_exposure_at: Timestamp(5_000_000),
            summary: None,
        };
        let seals = Seals {
            experiments: BTreeMap::from([(key.clone(), seal)]),
            ..Seals::default()
        };
        seals.write(&root).await.unwrap();
        assert_eq!(Seals::read(&root).await.unwrap(), seals);
        let plan = seals.over(&MeasurementPlan::discover());
        assert!(plan.is_sealed("checkout") && !plan.is_sealed("search"));
        let newer = br#"{"version": 2, "experiments": {}}"#;
        root.put(SEALS_PATH, newer.as_slice().into()).await.unwrap();
        let refused = Seals::read(&root).await.unwrap_err();
        assert!(refused.to_string().contains("version 2"), "{refused}");
    }
}
