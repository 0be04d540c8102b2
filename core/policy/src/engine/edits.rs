//! Where two lists differ: what they have in common at both ends, and what lies in between.

/// How many items two lists have in common at the start and at the end.
pub(crate) fn common_ends<T: PartialEq>(a: &[T], b: &[T]) -> (usize, usize) {
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let rest = a.len().min(b.len()) - prefix;
    let suffix = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(x, y)| x == y).count();
    (prefix, suffix)
}

/// The items outside of the common start and end, and those that `moved` picks.
pub(crate) fn differing<T>(
    items: &[T],
    (prefix, suffix): (usize, usize),
    moved: impl Fn(&T) -> bool,
) -> Vec<usize> {
    let inner = prefix..items.len().saturating_sub(suffix);
    items.iter().enumerate().filter(|(i, t)| inner.contains(i) || moved(t)).map(|(i, _)| i).collect()
}
