//! Plans against published sizes, against each other, and at the edge of what can be planned.

use super::*;
use crate::sequential::group::classical::equal_information;
use crate::sequential::group::spending::Spending;

fn plan(metric: Metric) -> Plan {
    Plan {
        metric,
        goal: Goal::Superiority,
        better: Better::Higher,
        one_sided: false,
        looking: Looking::Once,
        alpha: 0.05,
        correction: Correction::None,
        shares: vec![1.0, 1.0],
        metrics: 1,
        variance_left: 1.0,
    }
}

const MEAN: Metric = Metric::Mean {
    sd: 1.0,
    baseline: Some(10.0),
};

const RATE: Metric = Metric::Proportion { baseline: 0.01 };

const COUNT: Metric = Metric::Count {
    baseline: 1.0,
    exposure: 1.0,
    dispersion: 1.0,
};

fn size(effect: f64, power: f64) -> Known {
    Known {
        effect: Some(effect),
        units: None,
        power: Some(power),
        true_difference: 0.0,
    }
}

fn ways_of_looking() -> Vec<Looking> {
    vec![
        Looking::Once,
        Looking::ConfidenceSequence {
            looks: 10,
            planned_share: 1.0,
        },
        Looking::MixtureTest { looks: 10 },
        Looking::GroupSequential {
            information: equal_information(4),
            spending: Spending::ObrienFleming,
        },
    ]
}

#[test]
fn published_sizes_hold() {
    // R: power.t.test(delta = 0.5, power = 0.8) n = 63.76561; power.prop.test(p1 = .5, p2 = .75, power = .9) n = 76.7.
    let means = solve(&plan(MEAN), size(0.5, 0.8)).unwrap();
    assert!((means.units / 2.0 - 63.765_61).abs() < 1e-4, "{means:?}");
    assert_eq!(
        (means.units_per_arm.as_slice(), means.total_units),
        (&[64, 64][..], 128)
    );
    let rates = solve(&plan(Metric::Proportion { baseline: 0.5 }), size(0.25, 0.9)).unwrap();
    assert!((rates.units / 2.0 - 76.7).abs() < 0.05, "{rates:?}");
    // Jennison and Turnbull (2000), table 2.4: five O'Brien-Fleming looks cost 2.6 % at power 0.9.
    let looked = Plan {
        looking: Looking::GroupSequential {
            information: equal_information(5),
            spending: Spending::ObrienFleming,
        },
        ..plan(RATE)
    };
    let inflation = solve(&looked, size(0.002, 0.9)).unwrap().inflation.unwrap();
    assert!((inflation - 1.026).abs() < 0.005, "{inflation}");
}

#[test]
fn what_is_found_gives_back_what_was_known() {
    // What must never change: size, effect and power of one plan invert each other, however it is looked at.
    let ratio = Metric::Ratio(RatioMoments {
        numerator_mean: 2.0,
        numerator_sd: 3.0,
        denominator_mean: 4.0,
        denominator_sd: 2.0,
        correlation: 0.6,
    });
    for metric in [MEAN, RATE, COUNT, ratio] {
        for looking in ways_of_looking() {
            for one_sided in [false, true] {
                let plan = Plan {
                    looking: looking.clone(),
                    one_sided,
                    shares: vec![2.0, 1.0],
                    ..plan(metric)
                };
                let effect = 0.1 * metric.baseline().unwrap_or(1.0);
                let sized = solve(&plan, size(effect, 0.85)).unwrap();
                let known = Known {
                    units: Some(sized.units),
                    ..size(effect, 0.85)
                };
                let power = solve(&plan, Known { power: None, ..known }).unwrap().power;
                assert!((power - 0.85).abs() < 1e-6, "{plan:?} {power}");
                let found = solve(
                    &plan,
                    Known {
                        effect: None,
                        ..known
                    },
                )
                .unwrap()
                .effect;
                assert!((found / effect - 1.0).abs() < 1e-5, "{plan:?} {found}");
            }
        }
    }
}

#[test]
fn margins_take_the_part_of_the_effect() {
    for goal in [Goal::NonInferiority, Goal::Equivalence] {
        let plan = Plan { goal, ..plan(MEAN) };
        let sized = solve(&plan, size(0.2, 0.8)).unwrap();
        let known = Known {
            effect: None,
            units: Some(sized.units),
            ..size(0.2, 0.8)
        };
        assert!((solve(&plan, known).unwrap().effect - 0.2).abs() < 1e-6);
        let against = Known {
            true_difference: -0.3,
            ..size(0.2, 0.8)
        };
        assert!(solve(&plan, against).is_err());
    }
    let one = solve(
        &Plan {
            goal: Goal::NonInferiority,
            ..plan(MEAN)
        },
        size(0.2, 0.8),
    )
    .unwrap();
    let two = solve(
        &Plan {
            goal: Goal::Equivalence,
            ..plan(MEAN)
        },
        size(0.2, 0.8),
    )
    .unwrap();
    assert!(two.units > one.units);
}

#[test]
fn what_costs_and_what_saves_units() {
    let base = solve(&plan(MEAN), size(0.1, 0.8)).unwrap().units;
    let of = |plan: Plan| solve(&plan, size(0.1, 0.8)).unwrap().units;
    let adjusted = of(Plan {
        variance_left: 0.64,
        ..plan(MEAN)
    });
    assert!((adjusted / base - 0.64).abs() < 1e-3);
    let four = |correction| Plan {
        correction,
        shares: vec![1.0; 4],
        ..plan(MEAN)
    };
    let [none, dunnett, sidak, bonferroni] = [
        Correction::None,
        Correction::Dunnett,
        Correction::Sidak,
        Correction::Bonferroni,
    ]
    .map(|correction| of(four(correction)));
    assert!((none / (2.0 * base) - 1.0).abs() < 1e-3);
    assert!(none < dunnett && dunnett < sidak && sidak < bonferroni);
    for looking in ways_of_looking().split_off(1) {
        let watched = solve(
            &Plan {
                looking,
                ..plan(MEAN)
            },
            size(0.1, 0.8),
        )
        .unwrap();
        assert!(watched.inflation.unwrap() > 1.0 && watched.units > base);
        assert!(watched.expected_units_under_effect.unwrap() < watched.units);
    }
}

#[test]
fn a_count_with_one_unit_of_exposure_agrees_with_the_square_root_rule() {
    let exposure = super::super::proportions::poisson_exposure(1.0, 1.1, 0.05, 0.8).unwrap();
    let planned = solve(&plan(COUNT), size(0.1, 0.8)).unwrap();
    assert!((planned.units / 2.0 / exposure - 1.0).abs() < 0.01, "{planned:?}");
}

#[test]
fn downwards_is_as_far_as_it_goes() {
    let down = Plan {
        better: Better::Lower,
        one_sided: true,
        ..plan(RATE)
    };
    let known = Known {
        effect: None,
        units: Some(100_000.0),
        ..size(0.0, 0.8)
    };
    let effect = solve(&down, known).unwrap().effect;
    assert!(effect < 0.0 && effect > -0.01, "{effect}");
    // With a hundred units no decrease from 1 % can be seen.
    assert!(
        solve(
            &down,
            Known {
                units: Some(100.0),
                ..known
            }
        )
        .is_err()
    );
    assert!(solve(&down, size(0.002, 0.8)).is_err());
}

#[test]
fn what_cannot_be_planned_has_a_reason() {
    let good = plan(RATE);
    for known in [
        Known {
            power: None,
            ..size(0.1, 0.8)
        },
        Known {
            units: Some(10.0),
            ..size(0.1, 0.8)
        },
        size(0.0, 0.8),
        size(f64::NAN, 0.8),
        size(0.995, 0.8),
        size(-0.01, 0.8),
        size(0.001, 1.0),
        size(1e-12, 0.8),
    ] {
        assert!(solve(&good, known).is_err(), "{known:?}");
    }
    for bad in [
        Plan {
            alpha: 0.0,
            ..good.clone()
        },
        Plan {
            shares: vec![1.0],
            ..good.clone()
        },
        Plan {
            shares: vec![1.0, f64::NAN],
            ..good.clone()
        },
        Plan {
            metrics: 0,
            ..good.clone()
        },
        Plan {
            variance_left: 1.5,
            ..good.clone()
        },
        Plan {
            looking: Looking::MixtureTest { looks: 0 },
            ..good
        },
        plan(Metric::Mean {
            sd: 0.0,
            baseline: None,
        }),
        plan(Metric::Proportion { baseline: 1.0 }),
        plan(Metric::Count {
            baseline: 1.0,
            exposure: 0.0,
            dispersion: 1.0,
        }),
    ] {
        assert!(solve(&bad, size(0.001, 0.8)).is_err(), "{bad:?}");
    }
}

#[test]
fn units_that_are_given_are_never_exceeded() {
    // What must never change: three arms of 56 000 units hold at most 56 000.
    let three = Plan {
        shares: vec![1.0; 3],
        ..plan(MEAN)
    };
    let known = Known {
        effect: None,
        units: Some(56_000.0),
        ..size(0.0, 0.8)
    };
    let found = solve(&three, known).unwrap();
    assert_eq!(found.units_per_arm, [18_666; 3]);
}
