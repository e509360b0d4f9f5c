//! Which numbers of the pools are whose, where several nodes share a database (SPEC §3, "Unique"): the rule by which they are
//! divided, without the database. Ranges are of digits, ascending, and do not touch.

use std::collections::BTreeMap;

/// First and last digits.
pub(super) type Range = (u64, u64);

/// What the database says of nodes and numbers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The nodes that run, this one among them.
    pub(super) live: Vec<String>,
    pub(super) owned_by_node: BTreeMap<String, Vec<Range>>,
    /// Numbers with a lease, or at rest after one.
    pub(super) used_by_node: BTreeMap<String, Vec<Range>>,
}

/// What this node does next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nobody's numbers that it takes.
    pub(super) claim: Vec<Range>,
    /// Free numbers of its own that it ceases to use, so that another may have them.
    pub(super) offer: Vec<Range>,
}

/// What of the pools is this node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Division {
    /// What it may lease from.
    pub(super) share: Vec<Range>,
    /// What it has besides and is to give up: no longer in its share, let go once the node knows.
    pub(super) offer: Vec<Range>,
}

/// Every node that runs is to have as many free numbers of a pool as the others: who has fewer than the mean takes what is
/// nobody's, and who has more offers the rest as soon as another has less than half of the mean. A node alone has all.
pub(super) fn plan(pools: &[Vec<Range>], me: &str, seen: &Seen) -> Plan {
    let all = |by_node: &BTreeMap<String, Vec<Range>>| merged(by_node.values().flatten().copied().collect());
    let (owned, used) = (all(&seen.owned_by_node), all(&seen.used_by_node));
    let mut plan = Plan::default();
    for pool in pools {
        let nobodys = minus(&minus(pool, &owned), &used);
        let free_of = |node: &str| {
            let owned = seen.owned_by_node.get(node).map_or(&[][..], Vec::as_slice);
            minus(&both(pool, owned), &used)
        };
        let free = free_of(me);
        let (nodes, mine) = (seen.live.len().max(1) as u64, count(&free));
        let others = || seen.live.iter().filter(|node| *node != me).map(|node| count(&free_of(node)));
        let mean = (count(&nobodys) + mine + others().sum::<u64>()).div_ceil(nodes);
        if mine < mean {
            plan.claim.extend(first(&nobodys, mean - mine));
        } else if mine > mean && others().any(|free| free * 2 < mean) {
            plan.offer.extend(last(&free, mine - mean));
        }
    }
    Plan { claim: merged(plan.claim), offer: merged(plan.offer) }
}

pub(super) fn count(ranges: &[Range]) -> u64 {
    ranges.iter().map(|(first, last)| last - first + 1).sum()
}

/// In any order, with any overlap.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges.into_iter().filter(|(first, last)| first <= last) {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

pub(super) fn minus(from: &[Range], without: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    let mut without = without.iter().copied().peekable();
    for &(first, last) in from {
        let mut next = first;
        while let Some((begin, end)) = without.peek().copied().filter(|(begin, _)| *begin <= last) {
            if begin > next {
                left.push((next, begin - 1));
            }
            next = next.max(end.saturating_add(1));
            if end > last {
                break;
            }
            without.next();
        }
        if next <= last {
            left.push((next, last));
        }
    }
    left
}

pub(super) fn both(a: &[Range], b: &[Range]) -> Vec<Range> {
    minus(a, &minus(a, b))
}

fn first(of: &[Range], mut wanted: u64) -> Vec<Range> {
    let mut taken = Vec::new();
    for &(begin, end) in of {
        if wanted == 0 {
            break;
        }
        let end = end.min(begin.saturating_add(wanted - 1));
        wanted -= end - begin + 1;
        taken.push((begin, end));
    }
    taken
}

fn last(of: &[Range], wanted: u64) -> Vec<Range> {
    let kept = first(of, count(of).saturating_sub(wanted));
    minus(of, &kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Vec<Range>> {
        prop::collection::vec((0..40u64, 0..6u64), 0..8)
            .prop_map(|parts| merged(parts.into_iter().map(|(first, more)| (first, first + more)).collect()))
    }

    fn numbers(of: &[Range]) -> BTreeSet<u64> {
        of.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn ranges_are_sets(a in ranges(), b in ranges(), wanted in 0..50u64) {
            let (left, right) = (numbers(&a), numbers(&b));
            prop_assert_eq!(numbers(&minus(&a, &b)), &left - &right);
            prop_assert_eq!(numbers(&both(&a, &b)), &left & &right);
            prop_assert_eq!(count(&a), left.len() as u64);
            let wanted_of = |order: Vec<u64>| order.into_iter().take(wanted as usize).collect::<BTreeSet<_>>();
            prop_assert_eq!(numbers(&first(&a, wanted)), wanted_of(left.iter().copied().collect()));
            prop_assert_eq!(numbers(&last(&a, wanted)), wanted_of(left.iter().rev().copied().collect()));
        }
    }

    /// Nodes that come and go and take calls; no number is ever two nodes', and none is nobody's for long.
    fn follow(steps: &[(u8, u8)]) -> Result<(), TestCaseError> {
        const NODES: [&str; 3] = ["a", "b", "c"];
        let pools = [vec![(100, 111)], vec![(200, 200), (300, 302)]];
        let mut seen = Seen::default();
        // What each node uses, from memory; and what it has ceased to use.
        let mut offered: BTreeMap<&str, Vec<Range>> = BTreeMap::new();
        for (who, what) in steps {
            let me = NODES[usize::from(who % 3)];
            match what % 8 {
                0 => seen.live.retain(|node| node != me),
                1 | 2 => {
                    // A call, if the node runs and has a number.
                    let owned = seen.owned_by_node.get(me).cloned().unwrap_or_default();
                    let used = seen.used_by_node.entry(me.to_owned()).or_default();
                    let share = minus(&minus(&owned, used), offered.get(me).map_or(&[], Vec::as_slice));
                    if seen.live.iter().any(|node| node == me) {
                        used.extend(first(&share, 1));
                        *used = merged(std::mem::take(used));
                    }
                }
                _ => {
                    if !seen.live.iter().any(|node| node == me) {
                        seen.live.push(me.to_owned());
                    }
                    let used = seen.used_by_node.get(me).cloned().unwrap_or_default();
                    let owned = seen.owned_by_node.entry(me.to_owned()).or_default();
                    *owned = minus(owned, &minus(&offered.remove(me).unwrap_or_default(), &used));
                    let plan = plan(&pools, me, &seen);
                    let owned = seen.owned_by_node.entry(me.to_owned()).or_default();
                    *owned = merged([owned.clone(), plan.claim].concat());
                    offered.insert(me, plan.offer);
                }
            }
            let of = |node: &str| numbers(seen.owned_by_node.get(node).map_or(&[], Vec::as_slice));
            let used = |node: &str| numbers(seen.used_by_node.get(node).map_or(&[], Vec::as_slice));
            for (one, other) in [("a", "b"), ("a", "c"), ("b", "c")] {
                prop_assert!(of(one).is_disjoint(&of(other)), "{one} {other}: {seen:?}");
                prop_assert!(used(one).is_disjoint(&used(other)), "{one} {other}: {seen:?}");
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Rule 3.2c.
        #[test]
        fn no_number_is_two_nodes(steps in prop::collection::vec((any::<u8>(), any::<u8>()), 0..60)) {
            follow(&steps)?;
        }
    }

    fn seen(live: &[&str], owned: &[(&str, Range)], used: &[(&str, Range)]) -> Seen {
        let by_node = |all: &[(&str, Range)]| {
            let mut by_node: BTreeMap<String, Vec<Range>> = BTreeMap::new();
            all.iter().for_each(|(node, range)| by_node.entry((*node).to_owned()).or_default().push(*range));
            by_node
        };
        let live = live.iter().map(|node| (*node).to_owned()).collect();
        Seen { live, owned_by_node: by_node(owned), used_by_node: by_node(used) }
    }

    #[test]
    fn a_node_alone_has_all_and_shares_with_one_that_comes() {
        let pools = [vec![(0, 9)]];
        let claim = |claim| Plan { claim, ..Plan::default() };
        let offer = |offer| Plan { offer, ..Plan::default() };
        assert_eq!(plan(&pools, "a", &seen(&["a"], &[], &[])), claim(vec![(0, 9)]));
        let both = ["a", "b"];
        let all = [("a", (0, 9))];
        assert_eq!(plan(&pools, "b", &seen(&both, &all, &[])), Plan::default());
        assert_eq!(plan(&pools, "a", &seen(&both, &all, &[])), offer(vec![(5, 9)]));
        assert_eq!(plan(&pools, "a", &seen(&both, &all, &[("a", (8, 9))])), offer(vec![(4, 7)]));
        assert_eq!(plan(&pools, "b", &seen(&both, &[("a", (0, 4))], &[])), claim(vec![(5, 9)]));
        // One that has used up its half gets half of what is left; what little there is goes nowhere.
        let halves = [("a", (0, 4)), ("b", (5, 9))];
        assert_eq!(plan(&pools, "a", &seen(&both, &halves, &[("b", (5, 9))])), offer(vec![(3, 4)]));
        assert_eq!(plan(&pools, "a", &seen(&both, &halves, &[("a", (0, 3)), ("b", (5, 9))])), Plan::default());
        // What a node has that does not run stays its own.
        assert_eq!(plan(&pools, "a", &seen(&["a"], &halves, &[])), Plan::default());
        // A number with a lease of somebody is nobody's to take, whoever owns it.
        assert_eq!(plan(&pools, "a", &seen(&["a"], &[], &[("b", (0, 3))])), claim(vec![(4, 9)]));
    }
}
