//! The incomplete beta function for two large parameters, near the mean, where the continued fraction is long.
//!
//! The expansion of DiDonato and Morris (1992, section 9, BASYM) in powers of 1/√a, around the complementary error
//! function: it holds uniformly through the mean. Its powers are kept scaled, so that parameters of 10³⁰⁰ do not overflow.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{Share, difference_of_products};
use crate::special::gamma::stirling_error;
use crate::special::logs::ln_1p_minus;
use crate::special::normal;

/// The smaller parameter from which the expansion has all digits of `f64`.
pub const SMALLEST: f64 = 1e3;

/// The distance from the mean, over the smaller parameter, up to which the expansion is used.
pub const NEAREST: f64 = 0.03;

/// Orders of the expansion: at the smallest parameter and the largest distance the last is below 10⁻¹⁷ of the sum.
const ORDERS: usize = 20;

/// Whether the expansion has all digits at x.
pub fn applies(a: f64, b: f64, share: Share) -> bool {
    let smaller = a.min(b);
    smaller >= SMALLEST && distance(a, b, share).abs() <= NEAREST * smaller
}

/// Whether x lies at the mean or below it.
pub fn below_mean(a: f64, b: f64, share: Share) -> bool {
    distance(a, b, share) >= 0.0
}

/// a·y − b·x, which is (a + b)·(mean − x).
fn distance(a: f64, b: f64, share: Share) -> f64 {
    difference_of_products([a, share.y], [b, share.x])
}

/// ln I(x; a, b), for x at the mean or below.
pub fn ln_tail(a: f64, b: f64, share: Share) -> f64 {
    let distance = distance(a, b, share).max(0.0);
    // The exponent by which the integrand at x lies below its peak.
    let exponent = -(a * ln_1p_minus(-distance / a) + b * ln_1p_minus(distance / b)).min(0.0);
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    let ratio = small / large;
    let root = 1.0 / (small * (1.0 + ratio)).sqrt();
    let sum = Coefficients::new(ratio, (b - a) / large).sum((2.0 * exponent).sqrt(), root);
    let correction = stirling_error(a) + stirling_error(b) - stirling_error(a + b);
    (FRAC_2_SQRT_PI * sum).ln() - exponent - correction
}

/// The coefficients of the expansion, from the powers of the change of variables.
struct Coefficients {
    orders: [f64; ORDERS + 1],
}

impl Coefficients {
    /// For the smaller parameter over the larger, and for (b − a) over the larger.
    fn new(ratio: f64, skew: f64) -> Self {
        let even = 1.0 / (1.0 + ratio);
        let squared = ratio * ratio;
        let mut a = [0.0; ORDERS + 1];
        let mut c = [0.0; ORDERS + 1];
        let mut orders = [0.0; ORDERS + 1];
        a[0] = skew * 2.0 / 3.0;
        c[0] = -0.5 * a[0];
        orders[0] = -c[0];
        let (mut sum, mut power) = (1.0, 1.0);
        for n in (2..=ORDERS).step_by(2) {
            power *= squared;
            a[n - 1] = 2.0 * even * (1.0 + ratio * power) / (n as f64 + 2.0);
            sum += power;
            a[n] = 2.0 * skew * sum / (n as f64 + 3.0);
            for i in [n, n + 1] {
                c[i - 1] = power_coefficient(&a, i) / (i as f64 + 1.0);
                let carried: f64 = (1..i).map(|j| orders[i - j - 1] * c[j - 1]).sum();
                orders[i - 1] = -(carried + c[i - 1]);
            }
        }
        Self { orders }
    }

    /// Σ dₙ·wⁿ·Jₙ(ζ), the integrals by their recurrence; stops where further orders do not count.
    fn sum(&self, zeta: f64, root: f64) -> f64 {
        // exp(ζ²/2)·erfc(ζ/√2) is twice the scaled normal tail.
        let first = normal::scaled_sf(zeta) / FRAC_2_SQRT_PI;
        let scale = 0.5 * FRAC_1_SQRT_2;
        let step = root * zeta;
        let mut integrals = [first, scale * root];
        let mut power = scale * root;
        let mut sum = first + self.orders[0] * integrals[1];
        for n in (2..=ORDERS).step_by(2) {
            let order = n as f64;
            let mut added = 0.0;
            for (odd, integral) in integrals.iter_mut().enumerate() {
                power *= step;
                *integral = power + (order - 1.0 + odd as f64) * root * root * *integral;
                added += (self.orders[n - 1 + odd] * *integral).abs();
                sum += self.orders[n - 1 + odd] * *integral;
            }
            if added <= 1e-17 * sum {
                break;
            }
        }
        sum
    }
}

/// The coefficient of order `i` of the series 1 + Σ a raised to −(i + 1)/2.
fn power_coefficient(a: &[f64], i: usize) -> f64 {
    let exponent = -0.5 * (i as f64 + 1.0);
    let mut b = [0.0; ORDERS + 1];
    b[0] = exponent * a[0];
    for m in 2..=i {
        let carried: f64 = (1..m)
            .map(|j| (j as f64 * exponent - (m - j) as f64) * a[j - 1] * b[m - j - 1])
            .sum();
        b[m - 1] = exponent * a[m - 1] + carried / m as f64;
    }
    b[i - 1]
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_TERMS, fraction, ln_beta_tails, ln_beta_terms};
    use super::*;

    #[test]
    fn tails_near_the_mean_of_large_parameters_hold() {
        // Truth: the density integrated outwards from x with 60 digits (mpmath); lower tail where true, else upper. A
        // unit in the last place of x alone moves the tail by (a + b)·2⁻⁵³ times the hazard, less than is allowed here.
        for (a, b, x, is_lower, truth) in TAILS {
            let tails = ln_beta_tails(a, b, Share::new(x));
            let value = if is_lower { tails.lower } else { tails.upper };
            let allowed = 4e-15 * f64::max(f64::abs(truth), 1.0);
            assert!(
                (value - truth).abs() <= allowed,
                "{a:e} {b:e} {x}: {value} is not {truth}, off by {:e}",
                value - truth
            );
        }
    }

    #[test]
    fn the_expansion_and_the_fraction_agree_where_both_hold() {
        // The tolerance is the fraction's: its rounding errors add up over thousands of terms.
        for (a, b) in [
            (1e3, 1e3),
            (1e3, 1e5),
            (5e3, 5e3),
            (6e3, 4e7),
            (1e9, 8e3),
            (2e6, 3e6),
        ] {
            for deviations in [0.0, 0.1, 1.0, 4.0, 9.0] {
                let variance = a * b / ((a + b) * (a + b) * (a + b));
                let share = Share::new(a / (a + b) - deviations * f64::sqrt(variance));
                if !applies(a, b, share) {
                    continue;
                }
                let one = ln_tail(a, b, share);
                let other = ln_beta_terms(a, b, share) + fraction(a, b, share).value.ln();
                assert!(
                    (one / other - 1.0).abs() < 5e-13,
                    "{a:e} {b:e} {deviations}: {one} is not {other}"
                );
            }
        }
    }

    #[test]
    fn the_fraction_settles_wherever_the_expansion_does_not_hold() {
        // What must never change: no pair of parameters runs the fraction out of terms.
        let mut most = 0;
        for small_power in -30..=300 {
            for apart in [0.0, 1e-6, 0.3, 1.0, 3.0, 12.0, 40.0, 250.0] {
                let small = 9.9 * f64::powi(10.0, small_power);
                let large = small * f64::powf(10.0, apart);
                for (a, b) in [(small, large), (large, small)] {
                    if a.max(b) > 1e300 {
                        continue;
                    }
                    for nearness in [0.0, 1e-12, 1e-6, 1e-3, 0.02, 0.031, 0.1, 0.9] {
                        let share = Share::of(a * (1.0 - nearness), b * (1.0 + nearness));
                        if applies(a, b, share) || share.x >= (a + 1.0) / (a + b + 2.0) {
                            continue;
                        }
                        let found = fraction(a, b, share);
                        assert!(found.value > 0.0, "{a:e} {b:e} {nearness}");
                        most = most.max(found.terms);
                    }
                }
            }
        }
        assert!(most < MAX_TERMS / 50, "{most}");
    }

    #[test]
    fn the_largest_parameters_are_answered() {
        for size in [1e16, 1e30, 1e100, 1e300] {
            let tails = ln_beta_tails(size, size, Share::new(0.5));
            assert!(
                (tails.lower + std::f64::consts::LN_2).abs() < 1e-15,
                "{size:e}: {tails:?}"
            );
            assert!(
                (tails.upper + std::f64::consts::LN_2).abs() < 1e-15,
                "{size:e}: {tails:?}"
            );
            let tails = ln_beta_tails(size, 3.0 * size, Share::new(0.249));
            assert!(tails.lower < -1e9 && tails.upper.abs() < 1e-300, "{tails:?}");
        }
    }

    /// Both parameters, x, whether the lower tail is meant, its logarithm.
    const TAILS: [(f64, f64, f64, bool, f64); 35] = [
        (
            4999.0,
            5001.0,
            0.349_900_003_000_000_1,
            true,
            -475.914_871_870_363_13,
        ),
        (
            4999.0,
            5001.0,
            0.459_900_000_800_000_04,
            true,
            -35.116_892_899_407_304,
        ),
        (4999.0, 5001.0, 0.4999, false, -0.693_148_244_422_571_1),
        (
            6000.0,
            6000.0,
            0.363_069_360_623_708_54,
            true,
            -472.090_430_546_849_06,
        ),
        (
            6000.0,
            6000.0,
            0.490_871_290_708_247_3,
            true,
            -3.783_481_059_514_603_6,
        ),
        (
            6000.0,
            6000.0,
            0.502_282_177_322_938_2,
            false,
            -1.175_902_847_061_960_8,
        ),
        (
            6000.0,
            1e6,
            0.003_661_183_048_877_081_3,
            true,
            -618.097_127_331_889_6,
        ),
        (
            6000.0,
            1e6,
            0.005_350_072_934_968_919,
            true,
            -37.379_311_072_391_32,
        ),
        (
            6000.0,
            1e6,
            0.006_194_517_878_014_949,
            false,
            -6.498_951_656_079_645,
        ),
        (1e6, 6000.0, 0.991_732_753_625_417_9, true, -364.715_040_595_267_9),
        (1e6, 6000.0, 0.993_882_249_844_080_2, true, -3.753_466_557_481_559),
        (
            1e6,
            6000.0,
            0.994_035_785_288_270_4,
            true,
            -0.696_555_740_883_046_2,
        ),
        (1e6, 1e6, 0.489_393_398_282_201_85, true, -454.422_523_968_246_6),
        (1e6, 1e6, 0.497_171_572_875_253_7, true, -35.013_948_817_030_77),
        (1e6, 1e6, 0.500_176_776_695_296_7, false, -1.175_911_708_105_802_6),
        (1e6, 1e6, 0.46875, true, -3_919.300_127_400_814),
        (3e7, 1e9, 0.028_969_023_182_848_33, true, -455.898_117_835_510_1),
        (3e7, 1e9, 0.029_115_734_231_607_293, true, -3.783_598_582_396_492),
        (3e7, 1e9, 0.029_141_932_633_171_44, false, -6.606_199_132_563_133),
        (1e9, 1e9, 0.499_664_589_803_375_14, true, -454.321_345_205_718_3),
        (1e9, 1e9, 0.499_910_557_280_899_95, true, -35.013_437_671_604_93),
        (
            1e11,
            3e11,
            0.249_979_460_404_093_47,
            true,
            -454.337_676_757_692_07,
        ),
        (
            1e11,
            3e11,
            0.249_998_630_693_606_17,
            true,
            -3.783_188_666_808_954_7,
        ),
        (
            1e11,
            3e11,
            0.250_000_342_326_598_4,
            false,
            -1.175_912_282_356_446_7,
        ),
        (1e12, 1e12, 0.499_989_393_398_282_2, true, -454.321_244_058_662_4),
        (1e12, 1e12, 0.499_997_171_572_875_27, true, -35.013_437_160_163_29),
        (1e12, 1e12, 0.500_001_060_660_171_7, false, -6.607_726_220_707_128),
        (4e13, 1e12, 0.975_609_033_368_587_8, true, -454.312_576_824_011_9),
        (4e13, 1e12, 0.975_609_707_915_629_4, true, -3.783_182_051_485_889),
        (4e13, 1e12, 0.975_609_756_097_561, true, -0.693_147_437_408_059_3),
        (1e15, 1e15, 0.499_999_664_589_803_5, true, -454.321_243_636_455_2),
        (1e15, 1e15, 0.499_999_910_557_281, true, -35.013_437_093_829_28),
        (
            1e15,
            1e15,
            0.500_000_005_590_170_1,
            false,
            -1.175_911_778_009_877_1,
        ),
        (1e12, 2e12, 0.25, true, -52116001152.5649),
        (1e9, 3e9, 0.257_812_5, false, -642248.893_809_892_2),
    ];
}
