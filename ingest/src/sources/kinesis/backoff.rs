//! How long to wait after a call that did not succeed.

use std::time::Duration;

use super::api::{CallError, CallErrorKind};
use super::metrics;
use super::settings::PollPace;

/// Waits that double from a least to a most. They are the same each time: what spreads the shards' calls is that each
/// waits from its own failure on.
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    wait: Duration,
    failure_count: u32,
}

impl Backoff {
    pub(crate) fn new(pace: &PollPace) -> Self {
        Self {
            min: pace.backoff_min,
            max: pace.backoff_max,
            wait: pace.backoff_min,
            failure_count: 0,
        }
    }

    /// The wait after this error. A refusal for the rate is normal life and does not count as a failure.
    pub(crate) fn next(&mut self, error: &CallError) -> Duration {
        if error.kind == CallErrorKind::Throttled {
            metrics::call_throttled();
            tracing::debug!(operation = error.operation, "call was throttled");
        } else {
            metrics::call_failed();
            self.failure_count += 1;
            tracing::warn!(operation = error.operation, error = %error.source, "call failed and is tried again");
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(self.max);
        wait
    }

    /// Failures since the last success.
    pub(crate) fn failure_count(&self) -> u32 {
        self.failure_count
    }

    /// A call succeeded.
    pub(crate) fn reset(&mut self) {
        self.wait = self.min;
        self.failure_count = 0;
    }
}
