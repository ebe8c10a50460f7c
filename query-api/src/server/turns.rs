//! A timer that is used again and again: by a connection for each of its requests, of which nearly none runs out.
//!
//! To set a timer of the runtime takes a lock that all threads share, and to drop it takes it again. To put off one that is
//! set takes neither: the runtime looks at its new time when the old one comes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

type Spare = Mutex<Option<Pin<Box<tokio::time::Sleep>>>>;

/// A timer that is lent out.
#[derive(Clone, Default)]
pub struct Turns(Arc<Spare>);

impl Turns {
    /// Ends at an instant. The timer is taken when the wait begins; two waits at once get two.
    pub fn until(&self, deadline: Instant) -> Turn {
        Turn {
            deadline,
            timer: None,
            home: Arc::clone(&self.0),
        }
    }
}

impl Timer for Turns {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.until(deadline))
    }
}

/// A wait on a borrowed timer, which goes back at its end.
pub struct Turn {
    deadline: Instant,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    home: Arc<Spare>,
}

impl Sleep for Turn {}

impl Future for Turn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let turn = self.get_mut();
        let deadline = turn.deadline.into();
        let timer = turn.timer.get_or_insert_with(|| {
            let spare = turn.home.lock().unwrap_or_else(PoisonError::into_inner).take();
            match spare {
                Some(mut timer) => {
                    timer.as_mut().reset(deadline);
                    timer
                }
                None => Box::pin(tokio::time::sleep_until(deadline)),
            }
        });
        timer.as_mut().poll(context)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_used_again_ends_when_it_is_told_to() {
        // What must never change: no request is cut early because an earlier one used the timer, and none waits longer.
        let turns = Turns::default();
        let begin = tokio::time::Instant::now();
        let after = |seconds| (begin + Duration::from_secs(seconds)).into_std();
        let wait = |seconds| turns.until(after(seconds));
        {
            let mut early = std::pin::pin!(wait(10));
            assert!(futures::poll!(early.as_mut()).is_pending());
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        wait(35).await;
        assert_eq!(begin.elapsed().as_secs(), 35);
        wait(36).await;
        assert_eq!(begin.elapsed().as_secs(), 36);
        {
            let mut late = std::pin::pin!(wait(1_000));
            assert!(futures::poll!(late.as_mut()).is_pending());
            let both = futures::future::join(wait(38), late);
            assert!(tokio::time::timeout(Duration::from_secs(10), both).await.is_err());
        }
        // Put off far, and then wanted soon.
        wait(50).await;
        assert_eq!(begin.elapsed().as_secs(), 50);
    }
}
