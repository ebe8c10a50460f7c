//! The compiled form of the definitions: immutable, indexed, and free of anything left to parse.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bucketing::Bucketer;
use super::condition::CompiledCondition;
use super::context::AttributePath;
use super::definition::{ValueType, VariantAllocation, Variation};
use super::id_set::IdSet;
use crate::experiment::ExperimentStatus;
use crate::ids::{ExperimentKey, FlagKey, HoldoutKey, LayerKey, VariantKey};

/// Everything that decides who gets what, compiled. Shared between threads and swapped as a whole.
#[derive(Debug, Default)]
pub struct Ruleset {
    pub(crate) version: u64,
    /// In the order of the definitions; nothing stands where a definition is in error.
    pub(crate) flags: Vec<Option<Flag>>,
    pub(crate) flag_index: KeyMap<usize>,
    pub(crate) experiments: Vec<Option<Experiment>>,
    pub(crate) experiment_index: KeyMap<usize>,
    pub(crate) segments: Vec<Option<Segment>>,
}

impl Ruleset {
    /// The version that decisions carry.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The keys of the flags that can be served, in the order of the definitions.
    pub fn flag_keys(&self) -> impl Iterator<Item = &FlagKey> {
        self.flags.iter().flatten().map(|flag| &flag.key)
    }

    /// The keys of the experiments that can be served, in the order of the definitions.
    pub fn experiment_keys(&self) -> impl Iterator<Item = &ExperimentKey> {
        self.experiments
            .iter()
            .flatten()
            .map(|experiment| &experiment.key)
    }

    /// The keys of the flags whose definitions are in error, in ascending order.
    pub fn broken_flag_keys(&self) -> Vec<&str> {
        let broken = |position: &usize| self.flag(*position).is_none();
        let found = self.flag_index.iter().filter(|(_, position)| broken(position));
        let mut keys: Vec<&str> = found.map(|(key, _)| &**key).collect();
        keys.sort_unstable();
        keys
    }

    /// Whether the ruleset has a flag under the key, be it in error.
    pub fn has_flag(&self, key: &str) -> bool {
        self.flag_index.contains_key(key)
    }
}

/// A compiled flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) key: FlagKey,
    pub(crate) value_type: ValueType,
    pub(crate) variations: Box<[Variation]>,
    pub(crate) state: FlagState,
    pub(crate) off: usize,
    pub(crate) overrides: KeyMap<usize>,
    pub(crate) gates: Gates,
    pub(crate) rules: Box<[CompiledRule]>,
    pub(crate) default: Answer,
    pub(crate) bucketer: Bucketer,
    pub(crate) unit: AttributePath,
    pub(crate) measured: bool,
}

/// Whether a flag is evaluated at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagState {
    On,
    Off,
    Archived,
}

/// What stands between a unit and the rules.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    pub(crate) prerequisites: Box<[Need]>,
    pub(crate) layer: Option<Slot>,
    pub(crate) holdout: Option<Holdout>,
}

/// A flag that must have given one of some variations.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) key: FlagKey,
    pub(crate) flag: usize,
    pub(crate) variations: Box<[usize]>,
}

/// A slot in a layer: the buckets from `from` to before `to`.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: LayerKey,
    pub(crate) bucketer: Bucketer,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// A holdout: the buckets before `buckets`.
#[derive(Debug)]
pub(crate) struct Holdout {
    pub(crate) key: HoldoutKey,
    pub(crate) bucketer: Bucketer,
    pub(crate) buckets: u32,
}

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) id: Box<str>,
    pub(crate) condition: CompiledCondition,
    pub(crate) answer: Answer,
}

/// What a rule or the default gives; numbers are places among the flag's variations.
#[derive(Debug)]
pub(crate) enum Answer {
    Variation(usize),
    Rollout(Split),
    Experiment {
        experiment: usize,
        /// The variation of each variant, in the order of the variants.
        variations: Box<[usize]>,
    },
}

/// Which target each bucket belongs to.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// The bucket before which a part ends and the part's target, in ascending order.
    pub(crate) parts: Box<[SplitPart]>,
}

/// Buckets from the part before up to `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitPart {
    pub(crate) end: u32,
    pub(crate) target: Option<usize>,
}

impl Split {
    /// The target of a bucket, when it belongs to one.
    pub(crate) fn target(&self, bucket: u32) -> Option<usize> {
        let position = self.parts.partition_point(|part| part.end <= bucket);
        self.parts.get(position).and_then(|part| part.target)
    }
}

/// A compiled experiment.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) key: ExperimentKey,
    pub(crate) status: ExperimentStatus,
    pub(crate) variants: Box<[VariantAllocation]>,
    pub(crate) split: Split,
    pub(crate) traffic_buckets: u32,
    pub(crate) audience: CompiledCondition,
    pub(crate) overrides: KeyMap<usize>,
    pub(crate) gates: Gates,
    pub(crate) sticky: bool,
    pub(crate) traffic: Bucketer,
    pub(crate) variant: Bucketer,
    pub(crate) unit: AttributePath,
}

impl Experiment {
    pub(crate) fn variant_position(&self, key: &VariantKey) -> Option<usize> {
        self.variants.iter().position(|variant| variant.key == *key)
    }
}

/// A compiled segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) included: KeySet,
    pub(crate) excluded: KeySet,
    pub(crate) listed: Option<Arc<IdSet>>,
    pub(crate) condition: Option<CompiledCondition>,
}

/// A map from texts that people defined; requests only look up in it.
pub(crate) type KeyMap<V> = HashMap<Box<str>, V, BuildHasherDefault<KeyHasher>>;
/// A set of texts that people defined.
pub(crate) type KeySet = HashSet<Box<str>, BuildHasherDefault<KeyHasher>>;

/// A hash without a random seed: the crate draws no random numbers, and callers cannot insert.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The end mark that `str` writes, which changes nothing here: only whole texts are hashed.
    fn write_u8(&mut self, _mark: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
