//! Containers that are cheap to clone: a clone shares everything with the original, and a change copies only what it
//! touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A sorted map in chunks. Cloning increments one counter; a change copies one chunk and the list of chunks.
#[derive(Clone, Debug)]
pub(crate) struct CowMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
}

type Chunk<K, V> = Arc<Vec<(K, V)>>;

const CHUNK: usize = 128;

impl<K, V> Default for CowMap<K, V> {
    fn default() -> Self {
        CowMap { chunks: Arc::new(Vec::new()) }
    }
}

impl<K: Ord + Clone, V: Clone> CowMap<K, V> {
    /// The chunk that contains a key, or would.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: std::borrow::Borrow<Q>,
    {
        let after = self.chunks.partition_point(|c| c.first().is_some_and(|(k, _)| k.borrow() <= key));
        after.saturating_sub(1)
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        chunk.get(at).map(|(_, v)| v)
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(i) => chunk.get_mut(i).map(|slot| std::mem::replace(&mut slot.1, value)),
            Err(i) => {
                chunk.insert(i, (key, value));
                if chunk.len() > CHUNK {
                    let upper = chunk.split_off(CHUNK / 2);
                    chunks.insert(at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.get(key)?;
        let at = self.chunk_of(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let i = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let (_, value) = chunk.remove(i);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        Some(value)
    }

    /// Whether two maps share everything.
    pub fn is_same(&self, other: &CowMap<K, V>) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|c| c.iter()).map(|(k, v)| (k, v))
    }

    /// The keys whose values may differ, with the value here and in the other map: those in chunks that are not shared.
    pub fn unshared<'a>(
        &'a self,
        other: &'a CowMap<K, V>,
    ) -> BTreeMap<&'a K, (Option<&'a V>, Option<&'a V>)> {
        let mut out: BTreeMap<&K, (Option<&V>, Option<&V>)> = BTreeMap::new();
        if self.is_same(other) {
            return out;
        }
        let chunks = |map: &CowMap<K, V>| map.chunks.iter().map(Arc::as_ptr).collect::<BTreeSet<_>>();
        let (here, there) = (chunks(self), chunks(other));
        for (k, v) in self.chunks.iter().filter(|c| !there.contains(&Arc::as_ptr(c))).flat_map(|c| c.iter()) {
            out.entry(k).or_default().0 = Some(v);
        }
        for (k, v) in other.chunks.iter().filter(|c| !here.contains(&Arc::as_ptr(c))).flat_map(|c| c.iter()) {
            out.entry(k).or_default().1 = Some(v);
        }
        out
    }
}

/// A growing list in chunks, indexed by number.
#[derive(Clone, Debug)]
pub(crate) struct CowVec<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Default for CowVec<T> {
    fn default() -> Self {
        CowVec { chunks: Arc::new(Vec::new()), len: 0 }
    }
}

impl<T: Clone> CowVec<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, i: usize) -> Option<&T> {
        self.chunks.get(i / CHUNK)?.get(i % CHUNK)
    }

    /// A mutable item; copies its chunk if it is shared.
    pub fn get_mut(&mut self, i: usize) -> Option<&mut T> {
        if i >= self.len {
            return None;
        }
        Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(i / CHUNK)?).get_mut(i % CHUNK)
    }

    pub fn push(&mut self, item: T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        if self.len.is_multiple_of(CHUNK) {
            chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        if let Some(last) = chunks.last_mut() {
            Arc::make_mut(last).push(item);
            self.len += 1;
        }
    }

    /// The indices of items that may differ: those in chunks that are not shared.
    pub fn unshared(&self, other: &CowVec<T>) -> impl Iterator<Item = usize> {
        let chunks = self.chunks.len().max(other.chunks.len());
        let shared = |i: &usize| match (self.chunks.get(*i), other.chunks.get(*i)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        let len = self.len.max(other.len);
        let apart = (0..chunks).filter(|i| !shared(i)).collect::<Vec<_>>();
        apart.into_iter().flat_map(move |i| i * CHUNK..len.min((i + 1) * CHUNK))
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|c| c.iter())
    }
}

impl<T: Clone> FromIterator<T> for CowVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut v = CowVec::default();
        items.into_iter().for_each(|i| v.push(i));
        v
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl PartialEq for Bits {
    fn eq(&self, other: &Bits) -> bool {
        let n = self.0.len().max(other.0.len());
        (0..n).all(|i| self.0.get(i).copied().unwrap_or(0) == other.0.get(i).copied().unwrap_or(0))
    }
}

impl Bits {
    pub fn set(&mut self, i: usize) {
        if self.0.len() <= i / 64 {
            self.0.resize(i / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(i / 64) {
            *word |= 1 << (i % 64);
        }
    }

    pub fn has(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    pub fn add(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    /// The numbers that are in one of two sets.
    pub fn differing(&self, other: &Bits) -> Bits {
        let word = |bits: &Bits, i: usize| bits.0.get(i).copied().unwrap_or(0);
        Bits((0..self.0.len().max(other.0.len())).map(|i| word(self, i) ^ word(other, i)).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(i, w)| {
            let mut rest = *w;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(i * 64 + bit)
            })
        })
    }
}
