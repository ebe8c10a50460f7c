//! Allocations keep their shares, and changes of them move the fewest units.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::rules::bucketing::bucket;
use crate::rules::{Context, Definitions, Ruleset};

/// Which share each bucket belongs to.
fn owners(layout: &[Vec<BucketRange>]) -> Vec<Option<usize>> {
    let mut owners = vec![None; BUCKETS as usize];
    for (share, ranges) in layout.iter().enumerate() {
        for range in ranges {
            for place in &mut owners[range.from as usize..range.to as usize] {
                assert_eq!(*place, None, "ranges overlap");
                *place = Some(share);
            }
        }
    }
    owners
}

fn sizes(layout: &[Vec<BucketRange>]) -> Vec<u32> {
    layout.iter().map(|ranges| size(ranges)).collect()
}

/// The fewest buckets that have to move for the sizes to change, those that nobody holds taken as one more
/// share.
fn fewest(before: &[u32], after: &[u32]) -> u32 {
    let nobody = |counts: &[u32]| BUCKETS - counts.iter().sum::<u32>();
    let shares = before.len().max(after.len());
    let at = |counts: &[u32], index: usize| counts.get(index).copied().unwrap_or(0);
    let lost: u32 = (0..shares)
        .map(|index| at(before, index).saturating_sub(at(after, index)))
        .sum();
    lost + nobody(before).saturating_sub(nobody(after))
}

/// Sizes of shares, not all traffic taken.
fn counts() -> impl Strategy<Value = Vec<u32>> {
    (proptest::collection::vec(0.0..1.0_f64, 1..6), 0.0..=1.0_f64).prop_map(|(weights, taken)| {
        let total: f64 = weights.iter().sum::<f64>().max(1e-9);
        weights
            .iter()
            .map(|weight| (weight / total * taken * f64::from(BUCKETS)).floor() as u32)
            .collect()
    })
}

proptest! {
    #[test]
    fn changing_shares_moves_the_fewest_units(steps in proptest::collection::vec(counts(), 2..6)) {
        // What must never change: after any series of changes every share has its size, and each change moved
        // exactly as many buckets as no other layout could have avoided.
        let mut layout = lay_out(&steps[0]);
        for next in &steps[1..] {
            let after = reallocate(&layout, next);
            prop_assert_eq!(&sizes(&after), next);
            let (was, is) = (owners(&layout), owners(&after));
            let moved = was.iter().zip(&is).filter(|(was, is)| was != is).count();
            prop_assert_eq!(moved, fewest(&sizes(&layout), next) as usize);
            layout = after;
        }
    }

    #[test]
    fn weights_share_every_bucket_out(weights in proptest::collection::vec(0.0..1e6_f64, 1..12)) {
        // What must never change: no bucket is lost, and no share is more than one bucket off.
        let total: f64 = weights.iter().sum();
        prop_assume!(total > 0.0);
        let counts = buckets_of_weights(&weights).unwrap();
        prop_assert_eq!(counts.iter().sum::<u32>(), BUCKETS);
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert!((f64::from(*count) - weight / total * f64::from(BUCKETS)).abs() <= 1.0);
        }
    }

    #[test]
    fn every_step_of_a_percentage_is_a_whole_number_of_buckets(count in 0..=BUCKETS) {
        // What must never change: 0.001 percent is one bucket, however the decimal is rounded.
        let percent: f64 = format!("{}.{:03}", count / 1_000, count % 1_000).parse().unwrap();
        prop_assert_eq!(buckets_of_percent(percent), Some(count));
        prop_assert_eq!(buckets_of_percent(percent + 0.0005), None);
    }
}

#[test]
fn odd_shares_are_no_shares() {
    for percent in [-0.001, 100.001, f64::NAN, f64::INFINITY, 33.333_3] {
        assert_eq!(buckets_of_percent(percent), None, "{percent}");
    }
    for weights in [
        vec![],
        vec![0.0],
        vec![-1.0, 2.0],
        vec![f64::NAN],
        vec![f64::MAX, f64::MAX],
    ] {
        assert_eq!(buckets_of_weights(&weights), None, "{weights:?}");
    }
}

fn flag(default: &Value) -> FlagDefinition {
    serde_json::from_value(json!({
        "key": "f", "type": "string", "enabled": true, "off_variation": "off", "default": default,
        "variations": [
            {"key": "a", "value": "a"}, {"key": "b", "value": "b"}, {"key": "c", "value": "c"}, {"key": "off", "value": ""}
        ],
    }))
    .unwrap()
}

fn answers(flag: &FlagDefinition, units: u32) -> Vec<String> {
    let definitions = Definitions {
        flags: vec![flag.clone()],
        ..Definitions::default()
    };
    let ruleset = Ruleset::compile(&definitions).unwrap();
    let attributes = Map::new();
    let answer = |unit: u32| {
        let unit = format!("u{unit}");
        ruleset
            .evaluate("f", &Context::from_json(&unit, &attributes))
            .value
            .as_str()
            .unwrap()
            .to_owned()
    };
    (0..units).map(answer).collect()
}

fn rollout(shares: &[(&str, f64)]) -> Value {
    let shares: Vec<Value> = shares
        .iter()
        .map(|(key, percent)| json!({"variation": key, "percent": percent}))
        .collect();
    json!({"rollout": shares})
}

#[test]
fn a_growing_rollout_keeps_everybody_who_is_in() {
    // What must never change: from 1 to 100 percent, who has the variation keeps it.
    let mut before = flag(&rollout(&[("a", 1.0)]));
    for percent in 2..=100 {
        let mut after = flag(&rollout(&[("a", f64::from(percent))]));
        after.keep_assignments(&before);
        let lost = answers(&before, 500)
            .iter()
            .zip(&answers(&after, 500))
            .any(|(was, is)| was == "a" && is != "a");
        assert!(!lost, "{percent}");
        before = after;
    }
    assert!(answers(&before, 500).iter().all(|answer| answer == "a"));
}

#[test]
fn a_saved_change_of_a_flag_moves_no_one_without_need() {
    // What must never change: who had a share that did not shrink keeps it, also when shares are reordered,
    // and also when a rollout follows a single variation.
    let changes = [
        (
            rollout(&[("a", 10.0), ("b", 10.0)]),
            rollout(&[("a", 20.0), ("b", 20.0)]),
        ),
        (
            rollout(&[("a", 50.0), ("b", 50.0)]),
            rollout(&[("b", 50.0), ("a", 50.0)]),
        ),
        (
            rollout(&[("a", 30.0), ("b", 30.0)]),
            rollout(&[("c", 40.0), ("b", 30.0), ("a", 30.0)]),
        ),
        (json!({"variation": "a"}), rollout(&[("b", 5.0), ("a", 95.0)])),
    ];
    for (was, is) in changes {
        let before = flag(&was);
        let mut after = flag(&is);
        after.keep_assignments(&before);
        let mut moved = 0;
        for (was, is) in answers(&before, 4_000).iter().zip(answers(&after, 4_000)) {
            let shrank = before_after_shrank(&before, &after, was);
            assert!(*was == is || was.is_empty() || shrank, "{was} -> {is}");
            moved += u32::from(*was != is);
        }
        assert!(moved < 2_000);
    }
}

fn before_after_shrank(before: &FlagDefinition, after: &FlagDefinition, value: &str) -> bool {
    let percent = |flag: &FlagDefinition| {
        let shares = shares_of(&flag.default).unwrap();
        shares
            .iter()
            .filter(|share| share.variation.as_str() == value)
            .map(|share| share.percent)
            .sum::<f64>()
    };
    percent(after) < percent(before)
}

#[test]
fn a_new_salt_starts_afresh() {
    let before = flag(&rollout(&[("b", 50.0)]));
    let mut after = flag(&rollout(&[("a", 50.0), ("b", 50.0)]));
    after.salt = Some("other".to_owned());
    after.keep_assignments(&before);
    assert!(
        matches!(&after.default, Serve::Rollout(shares) if shares.iter().all(|share| share.buckets.is_empty()))
    );
}

#[test]
fn a_bandits_weights_move_the_fewest_units() {
    // What must never change: between two updates of a bandit only as many units move as the weights say.
    let experiment = |weights: [f64; 3]| -> ExperimentAllocation {
        serde_json::from_value(json!({
            "key": "e", "status": "running",
            "variants": [{"key": "a", "weight": 1}, {"key": "b", "weight": 1}, {"key": "c", "weight": 1}],
            "live_weights": {"a": weights[0], "b": weights[1], "c": weights[2]},
        }))
        .unwrap()
    };
    let mut before = experiment([1.0, 1.0, 1.0]);
    for weights in [[2.0, 1.0, 1.0], [1.0, 8.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 2.0]] {
        let mut after = experiment(weights);
        after.keep_assignments(&before);
        let (was, is) = (before.variant_layout().unwrap(), after.variant_layout().unwrap());
        let moved = owners(&was)
            .iter()
            .zip(&owners(&is))
            .filter(|(was, is)| was != is)
            .count();
        assert_eq!(moved, fewest(&sizes(&was), &sizes(&is)) as usize);
        Ruleset::compile(&Definitions {
            experiments: vec![after.clone()],
            ..Definitions::default()
        })
        .unwrap();
        before = after;
    }
}

#[test]
fn a_unit_that_is_in_stays_when_an_experiment_takes_more_traffic() {
    // What must never change: traffic and variant are drawn under different salts, so that more traffic adds
    // units and moves none.
    let assign = |percent: f64| {
        let definitions: Definitions = serde_json::from_value(json!({"experiments": [{
            "key": "e", "status": "running", "traffic_percent": percent,
            "variants": [{"key": "a", "weight": 1}, {"key": "b", "weight": 1}],
        }]}))
        .unwrap();
        let ruleset = Ruleset::compile(&definitions).unwrap();
        let attributes = Map::new();
        let variant = |unit: u32| {
            let unit = format!("u{unit}");
            let decision = ruleset.assign("e", &Context::from_json(&unit, &attributes));
            decision.variation.map(ToString::to_string)
        };
        (0..3_000).map(variant).collect::<Vec<_>>()
    };
    let (few, many) = (assign(10.0), assign(60.0));
    assert!(
        few.iter()
            .zip(&many)
            .all(|(few, many)| few.is_none() || few == many)
    );
    assert!(few.iter().flatten().count() < many.iter().flatten().count());
    assert_ne!(bucket("e/traffic", "u1"), bucket("e/variant", "u1"));
}
