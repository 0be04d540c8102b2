//! Finds where two lists differ, by what they have in common at both ends.

/// How many items two lists have in common at the start and at the end.
pub(crate) fn common_ends<T: PartialEq>(a: &[T], b: &[T]) -> (usize, usize) {
    common_ends_by(a, b, |x, y| x == y)
}

/// As [`common_ends`], with `same` in place of `==`.
pub(crate) fn common_ends_by<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> (usize, usize) {
    let prefix = a.iter().zip(b).take_while(|(x, y)| same(x, y)).count();
    let rest = a.len().min(b.len()) - prefix;
    let suffix = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(x, y)| same(x, y)).count();
    (prefix, suffix)
}

/// The indices of items outside of the common ends, and of those that `concerned` selects.
pub(crate) fn differing<T>(
    items: &[T],
    (prefix, suffix): (usize, usize),
    concerned: impl Fn(&T) -> bool,
) -> Vec<usize> {
    let inner = prefix..items.len().saturating_sub(suffix);
    items.iter().enumerate().filter(|(i, t)| inner.contains(i) || concerned(t)).map(|(i, _)| i).collect()
}
