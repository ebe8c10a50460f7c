//! The rate-ratio e-process and its detector against values computed by hand and by enumeration.

use proptest::prelude::*;

use super::*;

fn after(margin: f64, looks: &[(f64, u64, u64)]) -> RateRatioState {
    let mut state = RateRatioState::new(margin).unwrap();
    for (weight, treatment, control) in looks {
        state.observe(*weight, *treatment, *control);
        state.end_look();
    }
    state
}

/// The chance of `hits` out of `tries`.
fn binomial(hits: u64, tries: u64, chance: f64) -> f64 {
    let ways = (0..hits).fold(1.0, |ways, k| ways * (tries - k) as f64 / (k + 1) as f64);
    ways * chance.powi(hits as i32) * (1.0 - chance).powi((tries - hits) as i32)
}

#[test]
fn a_control_without_any_affected_user_is_evidence_like_any_other() {
    // What must never change: 0 of 1 000 against 5, 9 and 300 is harm; some platforms answer p = 1.
    assert!((after(0.0, &[(0.5, 5, 0)]).log_e_value - 2.526_209_506_388_763_5).abs() < 1e-12);
    assert!((after(0.0, &[(0.5, 9, 0)]).log_e_value.exp() - 121.5).abs() < 1.0);
    let verdict = after(0.1, &[(0.5, 300, 0)]).verdict(0.001, 10_000);
    assert!(verdict.crossed && verdict.level == Level::Rollback && verdict.by == Some(Crossing::Cumulative));
}

#[test]
fn mean_evidence_is_at_most_one_for_every_harmless_ratio() {
    // What must never change: the sum over all outcomes, each with its chance, never exceeds 1 (detector: the looks).
    for (margin, weight) in [(0.0, 0.5), (0.1, 0.05), (0.5, 0.9), (9.0, 0.3)] {
        for harmless in [1.0 + margin, 1.0, 0.5] {
            let chance = weight * harmless / (weight * harmless + 1.0 - weight);
            let (mut mean_e, mut mean_m) = (0.0, 0.0);
            for (first, second) in
                (0..=4_u64).flat_map(|first| (0..=3_u64).map(move |second| (first, second)))
            {
                let state = after(
                    margin,
                    &[(weight, first, 4 - first), (weight, second, 3 - second)],
                );
                let outcome = binomial(first, 4, chance) * binomial(second, 3, chance);
                mean_e += outcome * state.log_e_value.exp();
                mean_m += outcome * state.log_detector.unwrap().exp();
            }
            assert!(
                mean_e <= 1.0 + 1e-12 && mean_m <= 2.0 + 1e-12,
                "{margin} {weight} {harmless}: {mean_e} {mean_m}"
            );
            if (harmless - 1.0 - margin).abs() < 1e-12 {
                assert!((mean_e - 1.0).abs() < 1e-12 && (mean_m - 2.0).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn late_harm_is_seen_by_the_detector_first() {
    // What must never change: a long healthy past does not hide harm that starts now.
    let mut looks = vec![(0.5, 4, 4); 200];
    looks.extend(vec![(0.5, 8, 4); 30]);
    let verdict = after(0.0, &looks).verdict(0.05, 250);
    assert_eq!(verdict.by, Some(Crossing::Detector));
    let healthy = after(0.0, &looks[..200]).verdict(0.05, 250);
    assert_eq!((healthy.level, healthy.crossed), (Level::Ok, false));
}

#[test]
fn two_affected_users_never_roll_back() {
    let verdict = after(0.0, &[(0.000_1, 2, 0)]).verdict(0.1, 1);
    assert!(verdict.log_e > verdict.log_e_threshold);
    assert_eq!(
        (verdict.level, verdict.crossed, verdict.by),
        (Level::Ok, false, None)
    );
}

#[test]
fn levels_rise_with_the_evidence_and_stay() {
    let mut state = RateRatioState::new(0.0).unwrap();
    let mut seen = Vec::new();
    for _ in 0..12 {
        state.observe(0.5, 1, 0);
        state.end_look();
        seen.push(state.verdict(0.01, 50).level);
    }
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]));
    seen.dedup();
    assert_eq!(seen, [Level::Ok, Level::Warn, Level::Pause, Level::Rollback]);
    state.observe(0.5, 0, 1_000);
    state.end_look();
    assert!(state.verdict(0.01, 50).crossed);
    assert_eq!(state.verdict(0.01, 5).looks_beyond_plan, 8);
}

#[test]
fn a_cohort_that_compares_nothing_changes_nothing() {
    let fresh = RateRatioState::new(0.1).unwrap();
    for weight in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
        let mut state = fresh.clone();
        state.observe(weight, 5, 5);
        assert_eq!(state, fresh);
    }
}

#[test]
fn no_count_share_or_budget_makes_it_panic_or_lose_its_number() {
    for margin in [0.0, 18.95, 1e300] {
        for weight in [1e-300, 1e-9, 0.5, 1.0 - 1e-16] {
            for (treatment, control) in [(u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 0)] {
                let state = after(margin, &[(weight, treatment, control), (weight, 1, 1)]);
                assert!(
                    state.max_log_e >= 0.0 && state.log_e_value.is_finite(),
                    "{margin} {weight}"
                );
                for alpha in [0.05, 0.0, f64::NAN, -1.0] {
                    let _ = state.verdict(alpha, 0);
                }
            }
        }
    }
    assert!(RateRatioState::new(f64::NAN).is_err() && RateRatioState::new(-0.1).is_err());
}

proptest! {
    #[test]
    fn cohorts_of_a_look_may_come_in_any_order_and_the_state_may_be_stored(
        cohorts in prop::collection::vec((0.01_f64..0.99, 0_u64..50, 0_u64..50), 1..20),
    ) {
        let (mut forward, mut backward) = (RateRatioState::new(0.1).unwrap(), RateRatioState::new(0.1).unwrap());
        cohorts.iter().for_each(|(weight, treatment, control)| forward.observe(*weight, *treatment, *control));
        cohorts.iter().rev().for_each(|(weight, treatment, control)| backward.observe(*weight, *treatment, *control));
        let text = serde_json::to_string(&forward).unwrap();
        let mut stored: RateRatioState = serde_json::from_str(&text).unwrap();
        forward.end_look();
        backward.end_look();
        stored.end_look();
        prop_assert!((forward.log_e_value - backward.log_e_value).abs() < 1e-9);
        prop_assert!((stored.log_detector.unwrap() - forward.log_detector.unwrap()).abs() < 1e-9);
        let record = cohorts.iter().map(|(weight, treatment, control)| CohortEvents {
            weight_treatment: *weight, affected_treatment: *treatment, affected_control: *control,
        }).collect::<Vec<_>>();
        let replayed = replay(0.1, &[record]).unwrap();
        prop_assert_eq!(&replayed[0], &forward);
    }

    #[test]
    fn one_more_affected_user_of_the_treatment_is_never_less_evidence(
        weight in 0.001_f64..0.999, treatment in 0_u64..200, control in 0_u64..200, margin in 0.0_f64..3.0,
    ) {
        let fewer = after(margin, &[(weight, treatment, control)]);
        let more = after(margin, &[(weight, treatment + 1, control)]);
        prop_assert!(more.log_e_value > fewer.log_e_value - 1e-12);
        prop_assert!(more.log_detector > fewer.log_detector.map(|log| log - 1e-12));
    }
}
