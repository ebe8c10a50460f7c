//! The standard normal distribution.
//!
//! Tails are Cody's rational approximations (1969), the far one in logarithms too, so that no tail vanishes; the inverse is
//! Wichura's (1988, AS 241). Both have all digits of `f64`.

use super::logs::{HALF_LN_TWO_PI, ln_1m_exp};

/// Below this |z| the middle of the distribution is approximated, above it the tail.
const NEAR: f64 = 0.674_489_75;

/// √32, from where on the approximation is one in 1/z².
const FAR: f64 = 5.656_854_249_492_38;

/// 1/√(2π).
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;

/// Beyond this z the tail is below the smallest `f64`.
const VANISHED: f64 = 38.6;

/// The density.
pub fn pdf(z: f64) -> f64 {
    (-0.5 * z * z - HALF_LN_TWO_PI).exp()
}

/// The logarithm of the density.
pub fn ln_pdf(z: f64) -> f64 {
    -0.5 * z * z - HALF_LN_TWO_PI
}

/// P(Z ≤ z).
pub fn cdf(z: f64) -> f64 {
    sf(-z)
}

/// P(Z > z).
pub fn sf(z: f64) -> f64 {
    if z < -NEAR {
        // The rest to 1 of a tail below a quarter: nothing is lost, for it is the larger side.
        let near_tail = sf(-z);
        (0.5 - near_tail) + 0.5
    } else if z < NEAR {
        0.5 - middle(z)
    } else if z < VANISHED {
        scaled_tail(z) * exp_of_square(z)
    } else if z.is_nan() {
        f64::NAN
    } else {
        0.0
    }
}

/// exp(−z²/2), the square taken in two parts so that its rounding does not show.
fn exp_of_square(z: f64) -> f64 {
    let coarse = (z * 16.0).trunc() / 16.0;
    let rest = (z - coarse) * (z + coarse);
    (-0.5 * coarse * coarse).exp() * (-0.5 * rest).exp()
}

/// P(0 < Z < z) for |z| < [`NEAR`], negative for negative z.
fn middle(z: f64) -> f64 {
    const A: [f64; 5] = [
        2.235_252_035_460_684,
        161.028_231_068_555_88,
        1_067.689_485_460_371,
        18_154.981_253_343_56,
        0.065_682_337_918_207_45,
    ];
    const B: [f64; 4] = [
        47.202_581_904_688_245,
        976.098_551_737_776_7,
        10_260.932_208_618_979,
        45_507.789_335_026_73,
    ];
    let square = z * z;
    let (mut over, mut under) = (A[4] * square, square);
    for index in 0..3 {
        over = (over + A[index]) * square;
        under = (under + B[index]) * square;
    }
    z * (over + A[3]) / (under + B[3])
}

/// P(Z > z)·exp(z²/2) for z ≥ 0.
pub fn scaled_sf(z: f64) -> f64 {
    if z < NEAR {
        (0.5 - middle(z)) * (0.5 * z * z).exp()
    } else {
        scaled_tail(z)
    }
}

/// P(Z > z)·exp(z²/2) for z ≥ [`NEAR`].
fn scaled_tail(z: f64) -> f64 {
    if z > FAR {
        return far_tail(z);
    }
    const C: [f64; 9] = [
        0.398_941_512_088_134_66,
        8.883_149_794_388_377,
        93.506_656_132_177_85,
        597.270_276_394_800_3,
        2_494.537_585_290_372_6,
        6_848.190_450_536_283,
        11_602.651_437_647_35,
        9_842.714_838_383_978,
        1.076_557_677_372_019_2e-8,
    ];
    const D: [f64; 8] = [
        22.266_688_044_328_117,
        235.387_901_782_625,
        1_519.377_599_407_554_7,
        6_485.558_298_266_761,
        18_615.571_640_885_097,
        34_900.952_721_145_98,
        38_912.003_286_093_27,
        19_685.429_676_859_992,
    ];
    let (mut over, mut under) = (C[8] * z, z);
    for index in 0..7 {
        over = (over + C[index]) * z;
        under = (under + D[index]) * z;
    }
    (over + C[7]) / (under + D[7])
}

/// P(Z > z)·exp(z²/2) for z above [`FAR`].
fn far_tail(z: f64) -> f64 {
    const P: [f64; 6] = [
        0.215_898_534_057_957,
        0.127_401_161_160_247_36,
        0.022_235_277_870_649_807,
        1.421_619_193_227_893_5e-3,
        2.911_287_495_116_879_4e-5,
        0.023_073_441_764_940_174,
    ];
    const Q: [f64; 5] = [
        1.284_260_096_144_911,
        0.468_238_212_480_865_1,
        0.065_988_137_868_928_56,
        3.782_396_332_027_582_4e-3,
        7.297_515_550_839_662e-5,
    ];
    let inverse = 1.0 / (z * z);
    let (mut over, mut under) = (P[5] * inverse, inverse);
    for index in 0..4 {
        over = (over + P[index]) * inverse;
        under = (under + Q[index]) * inverse;
    }
    let correction = inverse * (over + P[4]) / (under + Q[4]);
    (DENSITY_AT_0 - correction) / z
}

/// ln P(Z ≤ z).
pub fn ln_cdf(z: f64) -> f64 {
    ln_sf(-z)
}

/// ln P(Z > z).
pub fn ln_sf(z: f64) -> f64 {
    if z.is_nan() {
        f64::NAN
    } else if z == f64::INFINITY {
        f64::NEG_INFINITY
    } else if z >= NEAR {
        scaled_tail(z).ln() - 0.5 * z * z
    } else if z > -NEAR {
        (-0.5 - middle(z)).ln_1p()
    } else {
        (-sf(-z)).ln_1p()
    }
}

/// P(|Z| > |z|).
pub fn two_sided(z: f64) -> f64 {
    ln_two_sided(z).exp()
}

/// ln P(|Z| > |z|).
pub fn ln_two_sided(z: f64) -> f64 {
    let z = z.abs();
    if z < NEAR {
        (-2.0 * middle(z)).ln_1p()
    } else {
        ln_sf(z) + std::f64::consts::LN_2
    }
}

/// The z that P(Z ≤ z) = p holds for; ±∞ at 0 and 1, not a number outside.
pub fn quantile(p: f64) -> f64 {
    -isf(p)
}

/// The z that P(Z > z) = p holds for; ±∞ at 0 and 1, not a number outside.
pub fn isf(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p > 0.5 {
        // The rest to 1 is exact here, and its tail is the smaller one.
        return -isf(1.0 - p);
    }
    if p <= 0.0 {
        return f64::INFINITY;
    }
    let middle = 0.5 - p;
    if middle <= CENTRAL {
        let square = CENTRAL * CENTRAL - middle * middle;
        return middle * ratio_of_polynomials(&CENTRAL_TERMS, square);
    }
    let root = (-p.ln()).sqrt();
    if root <= OUTER {
        ratio_of_polynomials(&MIDDLE_TERMS, root - 1.6)
    } else {
        // A step of Newton's method: far out one unit in the last place of z shows in p.
        isf_of_ln(p.ln(), ratio_of_polynomials(&OUTER_TERMS, root - OUTER))
    }
}

/// Where Wichura's central approximation ends, as the distance of p from one half.
const CENTRAL: f64 = 0.425;

/// Where his outermost approximation begins, as √(−ln p).
const OUTER: f64 = 5.0;

/// Numerator and denominator in ascending powers of 0.425² − (p − ½)².
const CENTRAL_TERMS: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];

/// Numerator and denominator in ascending powers of √(−ln p) − 1.6.
const MIDDLE_TERMS: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_6,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];

/// Numerator and denominator in ascending powers of √(−ln p) − 5.
const OUTER_TERMS: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_94e-15,
    ],
];

fn ratio_of_polynomials(terms: &[[f64; 8]; 2], x: f64) -> f64 {
    let [over, under] = terms
        .each_ref()
        .map(|powers| powers.iter().rev().fold(0.0_f64, |sum, term| sum * x + term));
    over / under
}

/// The z that ln P(Z > z) = `ln_p` holds for, also where the probability itself is below the smallest `f64`.
pub fn isf_ln(ln_p: f64) -> f64 {
    if ln_p > -700.0 {
        let p = ln_p.exp();
        return if p > 0.5 { -isf(-ln_p.exp_m1()) } else { isf(p) };
    }
    let mut z = (-2.0 * ln_p).sqrt();
    for _ in 0..4 {
        z = isf_of_ln(ln_p, z);
    }
    z
}

/// One step of Newton's method on the logarithm of the tail, from a good start.
fn isf_of_ln(ln_p: f64, start: f64) -> f64 {
    let ln_tail = ln_sf(start);
    let next = start + (ln_tail - ln_p) * (ln_tail - ln_pdf(start)).exp();
    if next.is_finite() { next } else { start }
}

/// ln[Φ(b) − Φ(a)] for a ≤ b, each side taken from its nearer tail.
pub fn ln_between(a: f64, b: f64) -> f64 {
    if a >= b {
        return f64::NEG_INFINITY;
    }
    if a > 0.0 {
        let (near, far) = (ln_sf(a), ln_sf(b));
        return near + ln_1m_exp(far - near);
    }
    if b < 0.0 {
        return ln_between(-b, -a);
    }
    (-(cdf(a) + sf(b))).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_hold_to_the_last_digits() {
        // Truth: mpmath with 40 digits.
        let cases = [
            (0.1, -0.776_154_592_730_273_3),
            (1.0, -1.841_021_645_009_263_5),
            (4.9, -14.551_182_689_355_313),
            (5.1, -15.588_487_091_871_466),
            (5.7, -18.933_112_423_224_742),
            (12.0, -75.410_673_001_568_8),
            (38.0, -726.557_216_018_820_1),
            (1000.0, -500_007.826_694_812_2),
            (-3.0, -1.350_809_964_748_194e-3),
            (-9.0, -1.128_588_405_953_840_6e-19),
        ];
        for (z, truth) in cases {
            assert!(
                (ln_sf(z) / truth - 1.0).abs() < 2e-15,
                "{z} {:e} {truth:e}",
                ln_sf(z)
            );
        }
    }

    #[test]
    fn quantiles_invert_tails() {
        for p in [1e-300, 1e-20, 1e-3, 0.025, 0.3, 0.5, 0.7, 0.975] {
            assert!((sf(isf(p)) / p - 1.0).abs() < 1e-13, "{p}");
            assert!((cdf(quantile(p)) / p - 1.0).abs() < 1e-13, "{p}");
        }
        assert!((ln_sf(isf_ln(-1e6)) / -1e6 - 1.0).abs() < 1e-14);
        assert!((isf(0.025) - 1.959_963_984_540_054).abs() < 1e-14);
    }
}
