//! A bound on the bytes that all callers hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget is spent; try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requests of {used} bytes are in progress and {limit} are allowed")]
pub struct OverBudget {
    /// Bytes that are reserved.
    pub used: usize,
    /// Bytes that may be reserved.
    pub limit: usize,
}

/// A number of bytes of which callers reserve parts. Clones share it.
#[derive(Clone, Debug)]
pub struct ByteBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicUsize::new(0) }))
    }

    /// Bytes that are reserved now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether so many bytes could be reserved now. Reserves nothing.
    ///
    /// # Errors
    /// [`OverBudget`] if they do not fit.
    pub fn check(&self, bytes: usize) -> Result<(), OverBudget> {
        let used = self.used();
        if bytes > self.0.limit.saturating_sub(used) { Err(self.over(used)) } else { Ok(()) }
    }

    /// Reserves bytes until the reservation is dropped. Reserve before allocating.
    ///
    /// # Errors
    /// [`OverBudget`] if they do not fit.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, OverBudget> {
        let mut reservation = Reservation { budget: self.clone(), bytes: 0 };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    fn over(&self, used: usize) -> OverBudget {
        OverBudget { used, limit: self.0.limit }
    }
}

/// Reserved bytes. Dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: ByteBudget,
    bytes: usize,
}

impl Reservation {
    /// Reserves more bytes.
    ///
    /// # Errors
    /// [`OverBudget`] if they do not fit; the bytes that were reserved before stay so.
    pub fn grow(&mut self, more: usize) -> Result<(), OverBudget> {
        let Inner { limit, used } = &*self.budget.0;
        let fits = |used: usize| used.checked_add(more).filter(|sum| sum <= limit);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|used| self.budget.over(used))?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back all but `bytes`; does nothing if no more are reserved.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.budget.0.used.fetch_sub(surplus, Ordering::Relaxed);
        self.bytes -= surplus;
    }

    /// Bytes that are reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_share_a_bound_and_give_back_what_they_hold() {
        let budget = ByteBudget::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert_eq!(budget.reserve(41).unwrap_err(), OverBudget { used: 60, limit: 100 });
        assert!(budget.check(40).is_ok() && budget.check(41).is_err());
        let second = budget.reserve(40).unwrap();
        assert_eq!(first.grow(1), Err(OverBudget { used: 100, limit: 100 }));
        drop(second);
        first.grow(30).unwrap();
        assert_eq!((first.bytes(), budget.used()), (90, 90));
        first.shrink_to(200);
        first.shrink_to(10);
        assert_eq!((first.bytes(), budget.used()), (10, 10));
        assert!(first.grow(usize::MAX).is_err());
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn threads_together_never_exceed_the_bound() {
        let budget = ByteBudget::new(50);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let reservation = budget.reserve(20);
                        assert!(budget.used() <= 50);
                        drop(reservation);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
