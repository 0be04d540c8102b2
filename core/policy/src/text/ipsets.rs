//! Expands sets of addresses: follows names in them, and applies additions and removals in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::text::net::Net;

/// The limit for additions and removals over all sets, nested sets included. It bounds time and memory, because short
/// texts can name long sets many times.
pub(crate) const MAX_STEPS: usize = 250_000;

/// What an entry of a set names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Term {
    /// These addresses.
    Net(Net),
    /// Another set, by index.
    Set(usize),
}

/// An entry of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Removes instead of adding.
    pub remove: bool,
    /// What it adds or removes.
    pub what: Term,
}

/// The sets of a document, in its order, as far as they can be expanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct IpSets {
    nets: BTreeMap<usize, Arc<[Net]>>,
    /// Sets that contain themselves.
    pub circular: Vec<usize>,
    /// Whether they expand to more than [`MAX_STEPS`].
    pub too_large: bool,
}

impl IpSets {
    /// Expands every set once, nested sets first.
    pub fn new(sets: &[Vec<Entry>]) -> IpSets {
        let (order, circular) = order(sets);
        let mut known = IpSets { circular, ..IpSets::default() };
        let mut steps = 0;
        for (index, entries) in order.into_iter().filter_map(|i| Some((i, sets.get(i)?))) {
            let Some(nets) = known.expand(entries, &mut steps) else {
                known.too_large = true;
                break;
            };
            known.nets.insert(index, nets.into_iter().collect());
        }
        known
    }

    /// The addresses of a set: sorted, without duplicates.
    pub fn get(&self, set: usize) -> &[Net] {
        self.nets.get(&set).map_or(&[], |n| n)
    }

    /// Goes from the last entry to the first: everything removed so far is what later entries take away from this one.
    fn expand(&self, entries: &[Entry], steps: &mut usize) -> Option<BTreeSet<Net>> {
        let mut gone = Spans::default();
        let mut nets = BTreeSet::new();
        for Entry { remove, what } in entries.iter().rev() {
            let meant = match what {
                Term::Set(set) => self.get(*set),
                Term::Net(net) => std::slice::from_ref(net),
            };
            for net in meant {
                let mut pieces = 0;
                if *remove {
                    gone.add(net);
                } else {
                    gone.cut(net, |piece| {
                        pieces += 1;
                        nets.insert(piece);
                        *steps + pieces <= MAX_STEPS
                    });
                }
                *steps += pieces.max(1);
                if *steps > MAX_STEPS {
                    return None;
                }
            }
        }
        Some(nets)
    }
}

/// The sets, nested ones first, and those that contain themselves. No recursion: a chain can be long.
fn order(sets: &[Vec<Entry>]) -> (Vec<usize>, Vec<usize>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let inner = |set: usize| {
        sets.get(set).into_iter().flatten().filter_map(|e| match e.what {
            Term::Set(other) => Some(other),
            Term::Net(_) => None,
        })
    };
    let mut states = vec![State::New; sets.len()];
    let (mut order, mut circular) = (Vec::new(), Vec::new());
    for root in 0..states.len() {
        let mut path = Vec::new();
        let mut next = Some(root);
        loop {
            let state = next.and_then(|n| states.get_mut(n));
            match (next, state.as_deref().copied()) {
                (Some(n), Some(State::New)) => {
                    state.into_iter().for_each(|s| *s = State::Open);
                    path.push((n, inner(n)));
                }
                (Some(n), Some(State::Open)) => circular.push(n),
                _ => {}
            }
            let Some((at, rest)) = path.last_mut() else { break };
            next = rest.next();
            if next.is_none() {
                states.get_mut(*at).into_iter().for_each(|s| *s = State::Done);
                order.push(*at);
                path.pop();
            }
        }
    }
    (order, circular)
}

/// Addresses as spans that neither touch nor overlap, from first to last; IPv4 and IPv6 apart.
#[derive(Default)]
struct Spans(BTreeMap<(bool, u128), u128>);

impl Spans {
    fn add(&mut self, net: &Net) {
        let (v4, mut first, mut last) = span(net);
        let touching = (v4, 0)..=(v4, last.saturating_add(1));
        let before = self.0.range(touching).rev();
        let joined: Vec<_> =
            before.take_while(|(_, end)| end.saturating_add(1) >= first).map(|(s, e)| (*s, *e)).collect();
        for ((family, start), end) in joined {
            self.0.remove(&(family, start));
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert((v4, first), last);
    }

    /// Passes what is left of some addresses to `keep`, piece by piece, until it returns false.
    fn cut(&self, net: &Net, mut keep: impl FnMut(Net) -> bool) {
        let (v4, first, last) = span(net);
        let head = self.0.range((v4, 0)..(v4, first)).next_back();
        let inside = self.0.range((v4, first)..=(v4, last));
        let mut from = Some(first);
        let mut whole = true;
        for ((_, start), end) in head.into_iter().filter(|(_, end)| **end >= first).chain(inside) {
            whole = false;
            let left = from.filter(|f| f < start).map(|f| net_of(v4, f, start - 1));
            if left.is_some_and(|l| !keep(l)) {
                return;
            }
            from = end.checked_add(1);
        }
        let rest = from.filter(|f| *f <= last);
        rest.map(|f| if whole { *net } else { net_of(v4, f, last) }).map(keep);
    }
}

fn span(net: &Net) -> (bool, u128, u128) {
    let number = |a: IpAddr| match a {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    };
    let (first, last) = net.bounds();
    (first.is_ipv4(), number(first), number(last))
}

/// The addresses of a span: a prefix if it is one.
fn net_of(v4: bool, first: u128, last: u128) -> Net {
    let addr = |n: u128| match u32::try_from(n) {
        Ok(n) if v4 => IpAddr::V4(n.into()),
        _ => IpAddr::V6(n.into()),
    };
    let length = (first ^ last).leading_zeros() as u8;
    let prefix = match (addr(first), v4) {
        (IpAddr::V4(a), _) => Ipv4Net::new(a, length.saturating_sub(96)).ok().map(IpNet::V4),
        (IpAddr::V6(a), _) => Ipv6Net::new(a, length).ok().map(IpNet::V6),
    };
    let range = Net::Range(addr(first), addr(last));
    prefix.map(Net::Prefix).filter(|p| p.bounds() == range.bounds()).unwrap_or(range)
}
