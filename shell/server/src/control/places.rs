//! A few places for each key, such as a machine or a node. Whoever comes when all are taken gets one: the oldest gives way.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::system::seldom::Seldom;

/// Hands out places, at most so many for each key.
pub struct Places<K> {
    /// What takes them, for the log.
    what: &'static str,
    most: usize,
    taken: Arc<Mutex<Taken<K>>>,
    line: Seldom,
}

struct Taken<K> {
    next: u64,
    places: BTreeMap<K, VecDeque<(u64, oneshot::Sender<()>)>>,
    given_way: u64,
}

impl<K: Ord + Copy + Debug> Places<K> {
    pub fn new(what: &'static str, most: usize) -> Places<K> {
        let taken = Taken { next: 0, places: BTreeMap::new(), given_way: 0 };
        Places { what, most, taken: Arc::new(Mutex::new(taken)), line: Seldom::default() }
    }

    /// A place, which is free again when it is dropped.
    pub fn take(&self, key: K) -> Place<K> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.next += 1;
        let number = taken.next;
        let (ends, lost) = oneshot::channel();
        let places = taken.places.entry(key).or_default();
        places.push_back((number, ends));
        if places.len() > self.most {
            // Its sender is dropped: that is what the holder waits for.
            places.pop_front();
            taken.given_way += 1;
            if self.line.is_due() {
                let (what, most) = (self.what, self.most);
                tracing::warn!("{key:?} has more than {most} {what} at once: the oldest ones end");
            }
        }
        Place { key, number, lost, taken: self.taken.clone() }
    }

    /// How many places were taken away from their holders since the start.
    pub fn given_way(&self) -> u64 {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).given_way
    }
}

pub struct Place<K: Ord> {
    key: K,
    number: u64,
    lost: oneshot::Receiver<()>,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K: Ord> Place<K> {
    /// Waits until a newer holder needs the place. Must not be called again after that.
    pub async fn lost(&mut self) {
        let _ = (&mut self.lost).await;
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = taken.places.get_mut(&self.key) {
            places.retain(|(number, _)| *number != self.number);
            if places.is_empty() {
                taken.places.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_of_a_key_gives_way_and_nothing_is_left_behind() {
        let places = Places::new("requests", 2);
        let (mut first, second, other) = (places.take(1), places.take(1), places.take(2));
        let third = places.take(1);
        first.lost().await;
        assert_eq!(places.given_way(), 1);
        drop((first, second));
        let fourth = places.take(1);
        assert_eq!(places.given_way(), 1, "a place that was dropped is free");
        drop((third, other, fourth));
        assert!(places.taken.lock().unwrap().places.is_empty());
    }
}
