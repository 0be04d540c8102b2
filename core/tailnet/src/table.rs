//! Persistent collections: a clone copies a few pointers, a change copies one small chunk, and a comparison of two versions
//! visits only the chunks that differ.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use headsail_wire::keys::{MachineKey, NodeKey};

const CHUNK: usize = 64;

type Chunk<R> = [Option<Arc<R>>; CHUNK];

/// Rows by number, in numerical order. Numbers should be dense.
pub struct Table<R> {
    chunks: BTreeMap<u64, Arc<Chunk<R>>>,
    len: usize,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Table<R> {
        Table { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<R> Default for Table<R> {
    fn default() -> Table<R> {
        Table { chunks: BTreeMap::new(), len: 0 }
    }
}

fn place(id: u64) -> (u64, usize) {
    (id / CHUNK as u64, (id % CHUNK as u64) as usize)
}

impl<R> Table<R> {
    pub fn get(&self, id: u64) -> Option<&Arc<R>> {
        let (chunk, slot) = place(id);
        self.chunks.get(&chunk)?[slot].as_ref()
    }

    /// Inserts or replaces a row.
    pub fn put(&mut self, id: u64, row: Arc<R>) {
        let (chunk, slot) = place(id);
        let chunk = self.chunks.entry(chunk).or_insert_with(|| Arc::new([const { None }; CHUNK]));
        if Arc::make_mut(chunk)[slot].replace(row).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, id: u64) -> Option<Arc<R>> {
        let (number, slot) = place(id);
        let chunk = self.chunks.get_mut(&number)?;
        chunk[slot].as_ref()?;
        let chunk = Arc::make_mut(chunk);
        let row = chunk[slot].take();
        if chunk.iter().all(Option::is_none) {
            self.chunks.remove(&number);
        }
        self.len -= 1;
        row
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All rows, in numerical order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<R>> {
        self.chunks.values().flat_map(|chunk| chunk.iter().flatten())
    }

    /// The numbers, in order, of rows that were added, replaced or removed since `then`. This compares one pointer per
    /// chunk, and one per row in the chunks that differ.
    pub fn touched_since(&self, then: &Table<R>) -> Vec<u64> {
        let mut out = Vec::new();
        let mut old = then.chunks.iter().peekable();
        let mut new = self.chunks.iter().peekable();
        loop {
            let next_old = old.peek().map_or(u64::MAX, |(n, _)| **n);
            let next_new = new.peek().map_or(u64::MAX, |(n, _)| **n);
            let number = next_old.min(next_new);
            if number == u64::MAX {
                return out;
            }
            let a = if next_old == number { old.next() } else { None };
            let b = if next_new == number { new.next() } else { None };
            compare_chunks(number, a.map(|(_, c)| c), b.map(|(_, c)| c), &mut out);
        }
    }
}

fn compare_chunks<R>(number: u64, a: Option<&Arc<Chunk<R>>>, b: Option<&Arc<Chunk<R>>>, out: &mut Vec<u64>) {
    if let (Some(a), Some(b)) = (a, b)
        && Arc::ptr_eq(a, b)
    {
        return;
    }
    for slot in 0..CHUNK {
        let row_a = a.and_then(|c| c[slot].as_ref());
        let row_b = b.and_then(|c| c[slot].as_ref());
        let same = match (row_a, row_b) {
            (Some(x), Some(y)) => Arc::ptr_eq(x, y),
            (None, None) => true,
            _ => false,
        };
        if !same {
            out.push(number * CHUNK as u64 + slot as u64);
        }
    }
}

const SHARDS: usize = 64;

/// A key of an [`Index`], which determines its shard.
pub trait Sharded: Ord + Clone {
    /// Any number that is well distributed over the keys.
    fn spread(&self) -> usize;
}

impl Sharded for NodeKey {
    fn spread(&self) -> usize {
        usize::from(self.bytes()[0])
    }
}
impl Sharded for MachineKey {
    fn spread(&self) -> usize {
        usize::from(self.bytes()[0])
    }
}
impl Sharded for String {
    fn spread(&self) -> usize {
        self.bytes().fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(usize::from(b)))
    }
}
impl Sharded for IpAddr {
    fn spread(&self) -> usize {
        match self {
            IpAddr::V4(a) => usize::from(a.octets()[3]),
            IpAddr::V6(a) => usize::from(a.octets()[15]),
        }
    }
}

/// A persistent map from a key to a value.
#[derive(Clone)]
pub struct Index<K, V> {
    shards: Arc<[Arc<BTreeMap<K, V>>]>,
}

impl<K: Sharded, V: Clone> Default for Index<K, V> {
    fn default() -> Index<K, V> {
        let empty = Arc::new(BTreeMap::new());
        Index { shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect() }
    }
}

impl<K: Sharded, V: Clone> Index<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.shards[key.spread() % SHARDS].get(key)
    }

    pub fn put(&mut self, key: K, value: V) {
        let shard = key.spread() % SHARDS;
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[shard]).insert(key, value);
    }

    pub fn remove(&mut self, key: &K) {
        let shard = key.spread() % SHARDS;
        if self.shards[shard].contains_key(key) {
            Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[shard]).remove(key);
        }
    }

    /// All entries, shard by shard.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|s| s.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_behaves_like_a_map_and_reports_touched_rows(ops in proptest::collection::vec((0u64..200, proptest::option::of(0u32..4)), 0..80), cut in 0usize..80) {
            let mut table = Table::default();
            let mut model = BTreeMap::new();
            let (mut then, mut model_then) = (table.clone(), model.clone());
            for (i, (id, value)) in ops.into_iter().enumerate() {
                if i == cut {
                    (then, model_then) = (table.clone(), model.clone());
                }
                match value {
                    Some(v) => { let row = Arc::new(v); table.put(id, row.clone()); model.insert(id, row); }
                    None => { table.remove(id); model.remove(&id); }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert!(table.iter().eq(model.values()));
            let differs = |id: &u64| match (model.get(id), model_then.get(id)) {
                (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
                (a, b) => a.is_some() != b.is_some(),
            };
            let ought: Vec<u64> = (0..200).filter(differs).collect();
            prop_assert_eq!(table.touched_since(&then), ought);
        }
    }
}
