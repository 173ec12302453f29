//! A value that costs something to make and is good for a while: made once for all who ask meanwhile.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use common::lifecycle::Lifecycle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// A value that nobody asked for in so long is made anew before it is shown, unless it is said otherwise.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// What took long to make is kept so many times as long, and where it failed not begun again for as long.
const REST: u32 = 20;

/// The value, and how it is kept. Cheap to clone.
pub(super) struct Fresh<T> {
    kept: Arc<Mutex<Option<Kept<T>>>>,
    /// Until when it is not begun again, since it failed.
    resting: Arc<Mutex<Option<Instant>>>,
    /// Held by whoever makes the next one.
    making: Arc<tokio::sync::Mutex<()>>,
    good_for: Duration,
    shown_for: Duration,
}

struct Kept<T> {
    value: Arc<T>,
    made: Instant,
    good_for: Duration,
}

impl<T> Clone for Fresh<T> {
    fn clone(&self) -> Self {
        Self {
            kept: Arc::clone(&self.kept),
            resting: Arc::clone(&self.resting),
            making: Arc::clone(&self.making),
            good_for: self.good_for,
            shown_for: self.shown_for,
        }
    }
}

impl<T: Send + Sync + 'static> Fresh<T> {
    pub(super) fn new(good_for: Duration) -> Self {
        Self {
            kept: Arc::default(),
            resting: Arc::default(),
            making: Arc::default(),
            good_for,
            shown_for: FORGOTTEN,
        }
    }

    /// The same, which is shown for so long while the next one is made, since it says itself how old it is.
    pub(super) fn shown_for(self, shown_for: Duration) -> Self {
        Self { shown_for, ..self }
    }

    /// The value, made now if it is not good any more.
    pub(super) async fn get(&self, make: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        if let Some((value, true)) = self.kept() {
            return Ok(value);
        }
        let _making = self.making.lock().await;
        // Somebody else may have made it meanwhile.
        if let Some((value, true)) = self.kept() {
            return Ok(value);
        }
        let begun = Instant::now();
        let value = Arc::new(make.await?);
        let kept = Kept {
            value: Arc::clone(&value),
            made: Instant::now(),
            good_for: self.good_for.max(begun.elapsed() * REST),
        };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(value)
    }

    /// The value; where it is not good any more the old one, once more, while the next one is made.
    pub(super) async fn soon(
        &self,
        lifecycle: &Lifecycle,
        make: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Arc<T>> {
        let Some((value, is_good)) = self.kept() else {
            return self.get(make).await;
        };
        if !is_good && self.making.try_lock().is_ok() {
            let next = self.clone();
            lifecycle.spawn_work(async move {
                next.get(make).await.inspect_err(Error::log).ok();
            });
        }
        Ok(value)
    }

    /// The value as [`Fresh::soon`] gives it, or None if the first one takes longer than `patience` to make: it is made all the
    /// same, once, for who asks next. None, too, while it rests after a failure.
    pub(super) async fn within(
        &self,
        patience: Duration,
        lifecycle: &Lifecycle,
        make: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Option<Arc<T>>> {
        if self.kept().is_some() {
            return self.soon(lifecycle, make).await.map(Some);
        }
        if self.making.try_lock().is_err() {
            drop(tokio::time::timeout(patience, self.making.lock()).await);
            return Ok(self.kept().map(|(value, _)| value));
        }
        if self.rests() {
            return Ok(None);
        }
        let (next, (to, first)) = (self.clone(), oneshot::channel());
        lifecycle.spawn_work(async move {
            let begun = Instant::now();
            let value = next.get(make).await;
            if value.is_err() {
                next.rest(begun.elapsed());
            }
            if let Err(Err(error)) = to.send(value) {
                error.log();
            }
        });
        match tokio::time::timeout(patience, first).await {
            Ok(Ok(value)) => value.map(Some),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    fn rests(&self) -> bool {
        let until = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Rests after a failure that took so long, as after a success.
    fn rest(&self, took: Duration) {
        let mut until = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Instant::now().checked_add(took * REST);
    }

    /// The value and whether it is good still; None if there is none, or none that may be shown.
    fn kept(&self) -> Option<(Arc<T>, bool)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref()?;
        let age = kept.made.elapsed();
        let may_be_shown = age < kept.good_for.max(self.shown_for);
        may_be_shown.then(|| (Arc::clone(&kept.value), age < kept.good_for))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_value_is_made_once_while_it_is_good_and_anew_after() {
        let count = AtomicU32::new(0);
        let make = async || Ok(count.fetch_add(1, Ordering::Relaxed));
        let long = Fresh::new(Duration::from_hours(1));
        let both = tokio::join!(long.get(make()), long.get(make()));
        assert_eq!((*both.0.unwrap(), *both.1.unwrap()), (0, 0));
        let short = Fresh::new(Duration::ZERO);
        let first = *short.get(make()).await.unwrap();
        // What took some time to make is good for some times as long.
        let anew = async {
            while *short.get(make()).await.unwrap() == first {
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(20), anew).await;
        assert!(outcome.is_ok(), "it was never made anew");
    }

    #[tokio::test]
    async fn who_asks_while_it_is_made_anew_is_given_the_old_one() {
        let (lifecycle, fresh) = (Lifecycle::new(), Fresh::new(Duration::ZERO));
        let first = fresh.soon(&lifecycle, async { Ok(1) }).await;
        assert_eq!(*first.unwrap(), 1);
        let old = fresh.soon(&lifecycle, std::future::pending()).await;
        assert_eq!(*old.unwrap(), 1);
        let failing = Fresh::<i32>::new(Duration::ZERO);
        let failed = failing.soon(&lifecycle, async { Err(Error::Late("ledger")) });
        assert!(failed.await.is_err());
    }

    #[tokio::test]
    async fn what_takes_long_to_make_first_is_made_once_for_who_asks_again() {
        let (lifecycle, fresh) = (Lifecycle::new(), Fresh::new(Duration::from_hours(1)));
        let (release, released) = oneshot::channel();
        let slow = async { Ok(released.await.unwrap_or_default()) };
        let at_once = Duration::ZERO;
        let first = fresh.within(at_once, &lifecycle, slow).await;
        assert_eq!(first.unwrap(), None);
        let again = fresh.within(at_once, &lifecycle, std::future::pending());
        assert_eq!(again.await.unwrap(), None);
        release.send(7).unwrap();
        let limit = Duration::from_secs(20);
        let made = fresh.within(limit, &lifecycle, std::future::pending());
        assert_eq!(made.await.unwrap().as_deref(), Some(&7));
        let failing = Fresh::<i32>::new(Duration::ZERO);
        let failed = failing.within(limit, &lifecycle, async { Err(Error::Late("ledger")) });
        assert!(failed.await.is_err());
    }
}
