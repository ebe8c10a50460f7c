//! What an experiment promises before it starts: its type, its analysis, and how a bandit learns.

use serde::{Deserialize, Serialize};

use crate::ids::MetricKey;
use crate::results::Correction;

/// What is being compared, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentType {
    /// Variants against a control, with fixed weights.
    #[default]
    Ab,
    /// Every combination of the levels of some factors.
    Multivariate,
    /// Variants that are pages of their own.
    SplitUrl,
    /// Weights follow what is learned.
    Bandit,
}

impl ExperimentType {
    /// The type as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ab => "ab",
            Self::Multivariate => "multivariate",
            Self::SplitUrl => "split_url",
            Self::Bandit => "bandit",
        }
    }
}

/// How the decision is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisMethod {
    /// Valid at every look.
    #[default]
    Sequential,
    /// One look at the end.
    FixedHorizon,
    /// Some looks, planned beforehand.
    GroupSequential,
    /// By posterior probabilities.
    Bayesian,
}

/// What is believed of the relative lift of every metric before the data: normal, so 0.05 is five percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftPrior {
    /// The lift that is expected; 0 as a rule.
    #[serde(default)]
    pub mean: f64,
    /// Its standard deviation; above 0.
    pub standard_deviation: f64,
}

/// The analysis that is planned before the start, and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysisSettings {
    /// How the decision is to be made.
    #[serde(default)]
    pub method: AnalysisMethod,
    /// The error rate over all comparisons; between 0 and 1.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// How it is held over comparisons.
    #[serde(default)]
    pub correction: Correction,
    /// How many users the experiment is planned for, over all variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_units: Option<u64>,
    /// The smallest relative lift of a goal metric that those users shall show, such as 0.02; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_effect: Option<f64>,
    /// The chance to see a lift of that size; between 0 and 1.
    #[serde(default = "default_power")]
    pub power: f64,
    /// The numbers of exposed users at which looks are planned, ascending; any time when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<u64>,
    /// What a Bayesian analysis believes of lifts beforehand; every difference as likely as any other when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<LiftPrior>,
    /// The relative lift up to which a Bayesian analysis takes variants as equal, such as 0.01 for one percent either
    /// way; above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_within: Option<f64>,
    /// The chance to miss the effect planned for that a group-sequential analysis may spend on ending early for lack of
    /// effect; between 0 and 1, and less than 1 with half of alpha.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub futility_beta: Option<f64>,
    /// Whether secondary metrics count only once every comparison of a goal metric was won.
    #[serde(default, skip_serializing_if = "is_false")]
    pub goals_first: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The usual five in a hundred.
fn default_alpha() -> f64 {
    0.05
}

/// The usual four in five.
fn default_power() -> f64 {
    0.8
}

impl Default for AnalysisSettings {
    fn default() -> Self {
        Self {
            method: AnalysisMethod::default(),
            alpha: default_alpha(),
            correction: Correction::default(),
            planned_units: None,
            minimum_effect: None,
            power: default_power(),
            looks: Vec::new(),
            prior: None,
            equal_within: None,
            futility_beta: None,
            goals_first: false,
        }
    }
}

/// Looks of a group-sequential analysis that names none but says for how many users it is planned: as many as gain
/// most of what more would.
const EVEN_LOOKS: u64 = 5;

/// The smallest spread of a prior: a millionth of the control's mean, beyond which data could not move it.
const SMALLEST_LIFT: f64 = 0.999e-6;

/// The most planned looks: beyond that the anytime-valid analysis loses nothing.
pub const LOOKS_MAX: usize = 50;

impl AnalysisSettings {
    /// The numbers of exposed users at which the decision may be made, ascending.
    ///
    /// The planned end for a fixed horizon; the looks for a group-sequential analysis, five evenly spaced ones up to the
    /// planned end where none are named. Empty for methods that need no looks, and where nobody stated an end.
    pub fn decision_looks(&self) -> Vec<u64> {
        let end = self.planned_units.filter(|end| *end > 0);
        match (self.method, end) {
            (AnalysisMethod::FixedHorizon, end) => end.into_iter().collect(),
            (AnalysisMethod::GroupSequential, _) if !self.looks.is_empty() => self.looks.clone(),
            (AnalysisMethod::GroupSequential, Some(end)) => {
                let look = |number: u64| end.saturating_mul(number).div_ceil(EVEN_LOOKS);
                let mut looks: Vec<u64> = (1..=EVEN_LOOKS).map(look).collect();
                looks.dedup();
                looks
            }
            (AnalysisMethod::GroupSequential, None)
            | (AnalysisMethod::Sequential | AnalysisMethod::Bayesian, _) => Vec::new(),
        }
    }

    /// What is wrong with the numbers, as the end of a sentence.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let is_rate = |rate: f64| rate > 0.0 && rate < 1.0;
        if !is_rate(self.alpha) {
            return Some("alpha lies between 0 and 1, both excluded");
        }
        if !is_rate(self.power) {
            return Some("power lies between 0 and 1, both excluded");
        }
        if self.planned_units == Some(0) {
            return Some("planned_units is at least 1");
        }
        let effect = self.minimum_effect;
        if effect.is_some_and(|effect| !(effect.is_finite() && effect > 0.0)) {
            return Some("minimum_effect is a finite number above 0");
        }
        if !self.looks.is_sorted_by(|before, after| before < after) || self.looks.first() == Some(&0) {
            return Some("looks ascend from at least 1");
        }
        if self.looks.len() > LOOKS_MAX {
            return Some("looks are at most 50");
        }
        self.belief_problem().or_else(|| self.stopping_problem())
    }

    /// What is wrong with what is believed beforehand.
    fn belief_problem(&self) -> Option<&'static str> {
        let is_bayesian = self.method == AnalysisMethod::Bayesian;
        if !is_bayesian && (self.prior.is_some() || self.equal_within.is_some()) {
            return Some("prior and equal_within are for the method bayesian");
        }
        let spread = |prior: LiftPrior| prior.standard_deviation;
        let is_sound = |prior: LiftPrior| {
            prior.mean.is_finite() && spread(prior).is_finite() && spread(prior) > SMALLEST_LIFT
        };
        if self.prior.is_some_and(|prior| !is_sound(prior)) {
            return Some("the prior has a finite mean and a finite standard_deviation of at least 0.000001");
        }
        if self
            .equal_within
            .is_some_and(|lift| !(lift.is_finite() && lift > 0.0))
        {
            return Some("equal_within is a finite number above 0");
        }
        None
    }

    /// What is wrong with futility and with the order of metrics.
    fn stopping_problem(&self) -> Option<&'static str> {
        if let Some(beta) = self.futility_beta {
            if self.method != AnalysisMethod::GroupSequential {
                return Some("futility_beta is for the method group_sequential");
            }
            if !(beta > 0.0 && beta + 0.5 * self.alpha < 1.0) {
                return Some("futility_beta lies between 0 and 1, and with half of alpha below 1");
            }
        }
        if self.goals_first && self.method == AnalysisMethod::Bayesian {
            return Some("goals_first is for methods with an error rate, not for bayesian");
        }
        if self.goals_first && self.correction != Correction::Holm {
            return Some("goals_first needs the correction holm");
        }
        None
    }
}

/// The shortest time between two changes of a bandit's weights: the engine's commits are a second apart.
pub const BANDIT_INTERVAL_MIN_SECONDS: u32 = 10;

/// How a bandit learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanditSettings {
    /// What is to be large, or small where the metric's direction is `down`; the first goal metric when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<MetricKey>,
    /// How often weights are set anew, in seconds.
    #[serde(default = "default_interval")]
    pub interval_seconds: u32,
    /// The share that every variant keeps, so that what it is worth stays known; times the variants at most 1.
    #[serde(default = "default_floor")]
    pub floor: f64,
    /// The users that each variant needs before weights change.
    #[serde(default = "default_burn_in")]
    pub burn_in_units: u64,
}

/// Slow enough that conversions which follow an exposure at some distance are seen.
fn default_interval() -> u32 {
    3_600
}

/// One in a hundred keeps an estimate alive and costs little.
fn default_floor() -> f64 {
    0.01
}

/// Below that a posterior is mostly its prior.
fn default_burn_in() -> u64 {
    200
}

impl Default for BanditSettings {
    fn default() -> Self {
        Self {
            metric: None,
            interval_seconds: default_interval(),
            floor: default_floor(),
            burn_in_units: default_burn_in(),
        }
    }
}

impl BanditSettings {
    /// What is wrong with the numbers for so many variants, as the end of a sentence.
    pub(super) fn problem(&self, variants: usize) -> Option<String> {
        if self.interval_seconds < BANDIT_INTERVAL_MIN_SECONDS {
            return Some(format!(
                "the interval of a bandit is at least {BANDIT_INTERVAL_MIN_SECONDS} seconds"
            ));
        }
        let floors = self.floor * variants as f64;
        if !(self.floor >= 0.0 && floors <= 1.0) {
            return Some("the floor of a bandit times its variants lies between 0 and 1".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_made_at_the_looks_that_the_method_plans() {
        use AnalysisMethod::{Bayesian, FixedHorizon, GroupSequential, Sequential};
        let check = |method: AnalysisMethod, planned_units: Option<u64>, looks: &[u64], expected: &[u64]| {
            let settings = AnalysisSettings {
                method,
                planned_units,
                looks: looks.to_vec(),
                ..AnalysisSettings::default()
            };
            assert_eq!(settings.decision_looks(), expected, "{settings:?}");
        };
        check(Sequential, Some(1_000), &[500], &[]);
        check(Bayesian, Some(1_000), &[500], &[]);
        check(FixedHorizon, Some(1_000), &[500], &[1_000]);
        check(FixedHorizon, None, &[500], &[]);
        check(GroupSequential, Some(1_000), &[300, 900], &[300, 900]);
        check(GroupSequential, Some(1_001), &[], &[201, 401, 601, 801, 1_001]);
        check(GroupSequential, Some(2), &[], &[1, 2]);
        check(GroupSequential, None, &[], &[]);
    }

    #[test]
    fn a_plan_says_in_one_sentence_what_it_cannot_be() {
        let check = |json: serde_json::Value, expected: Option<&str>| {
            let settings: AnalysisSettings = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(settings.problem(), expected, "{json}");
        };
        for sound in [
            serde_json::json!({"method": "bayesian", "prior": {"standard_deviation": 0.05}, "equal_within": 0.01}),
            serde_json::json!({"method": "bayesian", "prior": {"mean": -0.1, "standard_deviation": 1e-6}}),
            serde_json::json!({"method": "group_sequential", "futility_beta": 0.2, "goals_first": true}),
            serde_json::json!({"goals_first": true}),
        ] {
            check(sound, None);
        }
        let prior = Some("the prior has a finite mean and a finite standard_deviation of at least 0.000001");
        for sd in [0.0, -1.0, 1e-9] {
            check(
                serde_json::json!({"method": "bayesian", "prior": {"standard_deviation": sd}}),
                prior,
            );
        }
        check(
            serde_json::json!({"prior": {"standard_deviation": 0.1}}),
            Some("prior and equal_within are for the method bayesian"),
        );
        check(
            serde_json::json!({"method": "bayesian", "equal_within": 0.0}),
            Some("equal_within is a finite number above 0"),
        );
        check(
            serde_json::json!({"futility_beta": 0.2}),
            Some("futility_beta is for the method group_sequential"),
        );
        for beta in [0.0, 0.975, 1.0] {
            check(
                serde_json::json!({"method": "group_sequential", "futility_beta": beta}),
                Some("futility_beta lies between 0 and 1, and with half of alpha below 1"),
            );
        }
        check(
            serde_json::json!({"goals_first": true, "correction": "benjamini_hochberg"}),
            Some("goals_first needs the correction holm"),
        );
        check(
            serde_json::json!({"goals_first": true, "method": "bayesian"}),
            Some("goals_first is for methods with an error rate, not for bayesian"),
        );
        let unknown = serde_json::from_value::<AnalysisSettings>(serde_json::json!({"rope": 0.1}));
        assert!(unknown.is_err());
    }

    #[test]
    fn what_was_saved_before_reads_and_writes_as_it_was() {
        let saved = serde_json::to_value(AnalysisSettings::default()).unwrap();
        for name in ["prior", "equal_within", "futility_beta", "goals_first"] {
            assert!(saved.get(name).is_none(), "{saved}");
        }
    }

    #[test]
    fn too_many_looks_are_a_problem() {
        let settings = AnalysisSettings {
            looks: (1..=LOOKS_MAX as u64 + 1).collect(),
            ..AnalysisSettings::default()
        };
        assert_eq!(settings.problem(), Some("looks are at most 50"));
    }
}
