//! Which word of keepalived is in force, also for the thread that carries out a step under an earlier one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One word of keepalived about one subject: in force until the next.
#[derive(Debug, Clone)]
pub struct Word {
    number: u64,
    latest: Arc<AtomicU64>,
}

impl Word {
    /// The word before the first.
    pub(super) fn none() -> Self {
        Self { number: 0, latest: Arc::new(AtomicU64::new(0)) }
    }

    /// Another has been said: whoever holds this one sees it at once.
    pub(super) fn pass(&mut self) {
        self.number += 1;
        self.latest.store(self.number, Ordering::SeqCst);
    }

    /// Whether no other has been said since.
    pub fn is_in_force(&self) -> bool {
        self.latest.load(Ordering::SeqCst) == self.number
    }
}

/// The same word, of the same subject.
impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.latest, &other.latest)
    }
}

impl Eq for Word {}
