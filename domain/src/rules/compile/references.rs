//! What definitions refer to: names, and an order in which everything comes after what it rests on.
//!
//! Flags rest on flags (prerequisites, `flag_equals`), experiments and segments; experiments and segments in
//! turn on flags and segments. A cycle is an error of every definition on it. How deep and how wide the
//! references go is bounded, because one evaluation follows all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::report::Report;
use crate::rules::definition::{
    Clause, Condition, Definitions, FlagDefinition, Operator, Prerequisite, Serve,
};

/// The longest chain of references: the evaluation's stack is bounded by it.
const DEPTH_MAX: usize = 32;
/// The most definitions that one evaluation may pass through, counted with repetition.
const COST_MAX: u64 = 10_000;

/// One definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    Segment(usize),
    Experiment(usize),
    Flag(usize),
}

/// What a definition refers to and how many times.
type References = BTreeMap<Node, u64>;

/// Where each key stands, and what each definition refers to.
pub(crate) struct Names<'d> {
    pub(crate) flags: HashMap<&'d str, usize>,
    pub(crate) experiments: HashMap<&'d str, usize>,
    pub(crate) segments: HashMap<&'d str, usize>,
    definitions: &'d Definitions,
    environment_flags: HashMap<usize, FlagDefinition>,
}

impl<'d> Names<'d> {
    /// Reads all keys; one that stands twice is an error of the second.
    pub(crate) fn collect(definitions: &'d Definitions, report: &mut Report) -> Self {
        let flags = definitions.flags.iter().map(|flag| flag.key.as_str());
        let experiments = definitions
            .experiments
            .iter()
            .map(|experiment| experiment.key.as_str());
        let segments = definitions.segments.iter().map(|segment| segment.key.as_str());
        let mut names = Self {
            flags: index("flags", flags, report),
            experiments: index("experiments", experiments, report),
            segments: index("segments", segments, report),
            definitions,
            environment_flags: HashMap::new(),
        };
        if let Some(environment) = &definitions.environment {
            for (at, flag) in definitions.flags.iter().enumerate() {
                if flag.environments.contains_key(environment) {
                    names
                        .environment_flags
                        .insert(at, flag.in_environment(environment));
                }
            }
        }
        names
    }

    /// A flag as it is in the environment that is compiled.
    pub(crate) fn flag(&self, at: usize) -> Option<&FlagDefinition> {
        self.environment_flags
            .get(&at)
            .or_else(|| self.definitions.flags.get(at))
    }

    /// Whether the definition is the one that its key stands for.
    fn owns_key(&self, node: Node) -> bool {
        let (key, names, at) = match node {
            Node::Segment(at) => (
                self.definitions.segments.get(at).map(|one| one.key.as_str()),
                &self.segments,
                at,
            ),
            Node::Experiment(at) => (
                self.definitions.experiments.get(at).map(|one| one.key.as_str()),
                &self.experiments,
                at,
            ),
            Node::Flag(at) => (
                self.definitions.flags.get(at).map(|one| one.key.as_str()),
                &self.flags,
                at,
            ),
        };
        key.and_then(|key| names.get(key)) == Some(&at)
    }

    fn nodes(&self) -> impl Iterator<Item = Node> {
        let segments = (0..self.definitions.segments.len()).map(Node::Segment);
        let experiments = (0..self.definitions.experiments.len()).map(Node::Experiment);
        let flags = (0..self.definitions.flags.len()).map(Node::Flag);
        segments
            .chain(experiments)
            .chain(flags)
            .filter(|node| self.owns_key(*node))
    }

    /// What a definition refers to and is there.
    fn references(&self, node: Node) -> References {
        let mut found = References::new();
        match node {
            Node::Segment(at) => {
                if let Some(condition) = self
                    .definitions
                    .segments
                    .get(at)
                    .and_then(|one| one.condition.as_ref())
                {
                    self.of_condition(condition, &mut found);
                }
            }
            Node::Experiment(at) => {
                if let Some(experiment) = self.definitions.experiments.get(at) {
                    self.of_condition(&experiment.audience, &mut found);
                    self.of_prerequisites(&experiment.prerequisites, &mut found);
                }
            }
            Node::Flag(at) => {
                if let Some(flag) = self.flag(at) {
                    self.of_flag(flag, &mut found);
                }
            }
        }
        found
    }

    fn of_flag(&self, flag: &FlagDefinition, found: &mut References) {
        self.of_prerequisites(&flag.prerequisites, found);
        for serve in flag.rules.iter().map(|rule| &rule.serve).chain([&flag.default]) {
            if let Serve::Experiment(key) = serve {
                note(
                    found,
                    self.experiments.get(key.as_str()).copied().map(Node::Experiment),
                );
            }
        }
        for rule in &flag.rules {
            self.of_condition(&rule.condition, found);
        }
    }

    fn of_prerequisites(&self, prerequisites: &[Prerequisite], found: &mut References) {
        for prerequisite in prerequisites {
            note(
                found,
                self.flags
                    .get(prerequisite.flag.as_str())
                    .copied()
                    .map(Node::Flag),
            );
        }
    }

    fn of_condition(&self, condition: &Condition, found: &mut References) {
        // An explicit stack: the definition's depth is not checked yet.
        let mut open = vec![condition];
        while let Some(condition) = open.pop() {
            match condition {
                Condition::All(parts) | Condition::Any(parts) => open.extend(parts),
                Condition::Not(part) => open.push(part),
                Condition::Clause(clause) => self.of_clause(clause, found),
            }
        }
    }

    fn of_clause(&self, clause: &Clause, found: &mut References) {
        match clause.operator {
            Operator::InSegment => {
                for key in texts(&clause.value) {
                    note(found, self.segments.get(key).copied().map(Node::Segment));
                }
            }
            Operator::FlagEquals => {
                let key = clause.value.get("flag").and_then(|flag| flag.as_str());
                note(
                    found,
                    key.and_then(|key| self.flags.get(key)).copied().map(Node::Flag),
                );
            }
            _ => {}
        }
    }

    /// Does something at the definition's place in the report.
    pub(crate) fn at<T>(&self, node: Node, report: &mut Report, work: impl FnOnce(&mut Report) -> T) -> T {
        let (list, key) = self.name(node);
        report.at_key(list, key, work)
    }

    fn name(&self, node: Node) -> (&'static str, &'d str) {
        let definitions = self.definitions;
        match node {
            Node::Segment(at) => (
                "segments",
                definitions.segments.get(at).map_or("", |one| one.key.as_str()),
            ),
            Node::Experiment(at) => (
                "experiments",
                definitions.experiments.get(at).map_or("", |one| one.key.as_str()),
            ),
            Node::Flag(at) => (
                "flags",
                definitions.flags.get(at).map_or("", |one| one.key.as_str()),
            ),
        }
    }
}

fn note(found: &mut References, node: Option<Node>) {
    if let Some(node) = node {
        let times = found.entry(node).or_default();
        *times = times.saturating_add(1);
    }
}

/// A text, or the texts of an array.
fn texts(value: &serde_json::Value) -> impl Iterator<Item = &str> {
    let many = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str());
    value.as_str().into_iter().chain(many)
}

fn index<'d>(
    list: &'static str,
    keys: impl Iterator<Item = &'d str>,
    report: &mut Report,
) -> HashMap<&'d str, usize> {
    let mut names = HashMap::new();
    for (at, key) in keys.enumerate() {
        if names.contains_key(key) {
            report.at_key(list, key, |report| {
                report.error("the key stands twice; the first one counts")
            });
        } else {
            names.insert(key, at);
        }
    }
    names
}

/// The definitions that can be compiled, each after all that it rests on. Cycles and excesses are reported.
pub(crate) fn order(names: &Names<'_>, report: &mut Report) -> Vec<Node> {
    let references: HashMap<Node, References> =
        names.nodes().map(|node| (node, names.references(node))).collect();
    let mut needed_by: HashMap<Node, Vec<Node>> = HashMap::new();
    let mut waiting_for: HashMap<Node, usize> = HashMap::new();
    for node in names.nodes() {
        let needs = references.get(&node).map_or(0, References::len);
        waiting_for.insert(node, needs);
        for reference in references.get(&node).into_iter().flat_map(References::keys) {
            needed_by.entry(*reference).or_default().push(node);
        }
    }
    let mut order: Vec<Node> = names
        .nodes()
        .filter(|node| waiting_for.get(node) == Some(&0))
        .collect();
    let mut next = 0_usize;
    while let Some(node) = order.get(next).copied() {
        next = next.saturating_add(1);
        for dependant in needed_by.get(&node).into_iter().flatten() {
            if let Some(left) = waiting_for.get_mut(dependant) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    order.push(*dependant);
                }
            }
        }
    }
    let ordered: BTreeSet<Node> = order.iter().copied().collect();
    for node in names.nodes().filter(|node| !ordered.contains(node)) {
        report_cycle(names, node, &references, report);
    }
    within_limits(names, order, &references, report)
}

/// Reports the cycle that a node is on, or that it rests on one.
fn report_cycle(names: &Names<'_>, start: Node, references: &HashMap<Node, References>, report: &mut Report) {
    // A search from what the node refers to back to the node; the way is remembered to be shown.
    let mut came_from: HashMap<Node, Node> = HashMap::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in references.get(&node).into_iter().flat_map(References::keys) {
            if !came_from.contains_key(next) {
                came_from.insert(*next, node);
                open.push(*next);
            }
        }
    }
    let mut way = vec![names.name(start).1];
    let mut node = start;
    while let Some(before) = came_from.get(&node).copied() {
        way.push(names.name(before).1);
        node = before;
        if node == start || way.len() > references.len() {
            break;
        }
    }
    way.reverse();
    let message = if node == start && way.len() > 1 {
        format!("the references form a cycle: {}", way.join(" -> "))
    } else {
        "it rests on definitions that form a cycle".to_owned()
    };
    names.at(start, report, |report| report.error(message));
}

/// Drops what is referred to too deeply or too widely, and reports it.
fn within_limits(
    names: &Names<'_>,
    order: Vec<Node>,
    references: &HashMap<Node, References>,
    report: &mut Report,
) -> Vec<Node> {
    let mut depths: HashMap<Node, usize> = HashMap::new();
    let mut costs: HashMap<Node, u64> = HashMap::new();
    let mut kept = Vec::with_capacity(order.len());
    for node in order {
        let needs = references.get(&node);
        let deepest = needs
            .into_iter()
            .flatten()
            .filter_map(|(need, _)| depths.get(need))
            .max();
        let depth = deepest.map_or(0, |depth| depth.saturating_add(1));
        let cost = needs.into_iter().flatten().fold(1_u64, |sum, (need, times)| {
            let cost = costs.get(need).copied().unwrap_or(0);
            sum.saturating_add(cost.saturating_mul(*times))
        });
        depths.insert(node, depth);
        costs.insert(node, cost);
        if depth > DEPTH_MAX || cost > COST_MAX {
            let message = format!(
                "its references go {depth} deep (of {DEPTH_MAX}) through {cost} definitions (of {COST_MAX})"
            );
            names.at(node, report, |report| report.error(message));
        } else {
            kept.push(node);
        }
    }
    kept
}
