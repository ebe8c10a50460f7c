//! Draws from the distributions that the simulations need, all exact, from one seeded generator.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The mean up to which a count is drawn by running up its probabilities; beyond, e^−mean would lose digits.
const LARGEST_MEAN: f64 = 25.0;

/// A stream of draws.
pub struct Random {
    generator: ChaCha8Rng,
    spare: Option<f64>,
}

impl Random {
    /// The stream with this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            generator: ChaCha8Rng::seed_from_u64(seed),
            spare: None,
        }
    }

    /// Uniform on (0, 1), both ends excluded.
    pub fn uniform(&mut self) -> f64 {
        ((self.generator.next_u64() >> 12) as f64 + 0.5) * 2.0_f64.powi(-52)
    }

    /// Standard normal (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// Successes among `trials`.
    pub fn binomial(&mut self, trials: u64, chance: f64) -> u64 {
        if chance > 0.5 {
            return trials - self.binomial(trials, 1.0 - chance);
        }
        let mut left = trials;
        let mut hits = 0;
        // Long runs of trials are drawn in parts, whose counts add up.
        let part = (LARGEST_MEAN / chance.max(1e-300)).floor().max(1.0);
        while left > 0 {
            let now = if part < left as f64 { part as u64 } else { left };
            hits += self.short_binomial(now, chance);
            left -= now;
        }
        hits
    }

    fn short_binomial(&mut self, trials: u64, chance: f64) -> u64 {
        let odds = chance / (1.0 - chance);
        let mut probability = (trials as f64 * (-chance).ln_1p()).exp();
        let mut rest = self.uniform();
        let mut hits = 0;
        while rest > probability && hits < trials {
            rest -= probability;
            probability *= (trials - hits) as f64 / (hits + 1) as f64 * odds;
            hits += 1;
        }
        hits
    }

    /// A count with this mean, at most a few dozen.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        let mut probability = (-mean).exp();
        let mut rest = self.uniform();
        let mut hits = 0;
        while rest > probability && hits < 1_000 {
            rest -= probability;
            hits += 1;
            probability *= mean / hits as f64;
        }
        hits
    }

    /// Gamma with this shape and scale 1 (Marsaglia and Tsang).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Beta with these parameters.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        if x + y > 0.0 { x / (x + y) } else { 0.0 }
    }
}
