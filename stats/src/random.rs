//! Random numbers from a seed that is handed in: the same seed gives the same answer everywhere.

use crate::special::discrete;

/// SplitMix64 (Steele, Lea and Flood 2014): small, seeded, and good enough to resample and simulate with.
#[derive(Debug)]
pub struct SplitMix {
    state: u64,
}

impl SplitMix {
    /// Numbers from a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number of [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// An index below `count`, each as likely as the next to within 2⁻⁴⁰ for lists that fit a request.
    pub fn index(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// A Poisson variable of mean 1, by inversion.
    pub fn poisson_one(&mut self) -> f64 {
        let uniform = self.uniform();
        let (mut count, mut term) = (0.0, (-1.0_f64).exp());
        let mut below = term;
        while uniform >= below && count < 20.0 {
            count += 1.0;
            term /= count;
            below += term;
        }
        count
    }
}

/// Poisson variables of one mean, by inversion of a table of the distribution.
#[derive(Debug)]
pub struct PoissonTable {
    first: u64,
    at_most: Vec<f64>,
}

/// Standard deviations on either side of the mean that are tabulated: beyond lies less than 10⁻¹⁵.
const REACH: f64 = 9.0;

impl PoissonTable {
    /// A table for a mean of at least 0.
    pub fn new(mean: f64) -> Self {
        let reach = REACH * mean.sqrt() + 20.0;
        let first = (mean - reach).max(0.0).floor();
        let mut at_most = Vec::with_capacity(2 * reach as usize + 2);
        let (mut count, mut sum) = (first, 0.0);
        while count <= mean + reach {
            sum += discrete::ln_poisson_pmf(count, mean).exp();
            at_most.push(sum);
            count += 1.0;
        }
        Self {
            first: first as u64,
            at_most,
        }
    }

    /// One variable.
    pub fn draw(&self, random: &mut SplitMix) -> u64 {
        let uniform = random.uniform();
        let place = self.at_most.partition_point(|sum| *sum <= uniform);
        self.first + place.min(self.at_most.len() - 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_variables_have_their_mean_and_variance() {
        for mean in [0.0, 0.03, 2.5, 400.0] {
            let (table, mut random) = (PoissonTable::new(mean), SplitMix::new(3));
            let values: Vec<f64> = (0..20_000).map(|_| table.draw(&mut random) as f64).collect();
            let moments = domain::Moments::from_values(&values);
            // Five standard errors of the mean, and of the variance of counts.
            let error = 5.0 * (mean / 20_000.0).sqrt();
            assert!((moments.mean - mean).abs() <= error, "{mean} {moments:?}");
            let spread = 5.0 * ((2.0 * mean * mean + mean) / 20_000.0).sqrt();
            assert!(
                (moments.variance().unwrap() - mean).abs() <= spread,
                "{mean} {moments:?}"
            );
        }
    }

    #[test]
    fn indices_stay_inside() {
        let mut random = SplitMix::new(1);
        let mut seen = [0; 7];
        (0..7_000).for_each(|_| seen[random.index(7)] += 1);
        assert!(seen.iter().all(|count| (850..1_150).contains(count)), "{seen:?}");
    }
}
