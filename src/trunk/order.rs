//! In which order targets are tried: priority, then chance by weight (RFC 2782).

use crate::base::Rng;

/// One thing to choose, with its place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice<T> {
    pub item: T,
    /// Lower goes first.
    pub priority: u32,
    pub weight: u16,
}

/// All of them, each once: by priority, and within one priority drawn by weight.
pub(super) fn order<T: Copy>(rng: &mut Rng, mut choices: Vec<Choice<T>>) -> Vec<T> {
    // Weight 0 stands first, so that it has a small chance (RFC 2782, "Weight").
    choices.sort_by_key(|choice| (choice.priority, choice.weight));
    let mut ordered = Vec::with_capacity(choices.len());
    while let Some(first) = choices.first() {
        let priority = first.priority;
        let rivals = choices.partition_point(|choice| choice.priority == priority);
        let at = draw(rng, choices.get(..rivals).unwrap_or_default());
        ordered.push(choices.remove(at).item);
    }
    ordered
}

/// The first whose running sum of weights reaches a number drawn from `0..=sum`; 0 is drawn only where it is for somebody of
/// weight 0, or the first of two with weight 1 would get two calls of three (RFC 2782 leaves their order open). Where all have weight 0
/// each is as good as another.
fn draw<T>(rng: &mut Rng, rivals: &[Choice<T>]) -> usize {
    let sum: u64 = rivals.iter().map(|rival| u64::from(rival.weight)).sum();
    let unweighted = rivals.partition_point(|rival| rival.weight == 0);
    let least = u64::from(unweighted == 0);
    let drawn = match rivals.len() {
        0 | 1 => return 0,
        _ if sum == 0 => 0,
        _ => least + rng.below(sum + 1 - least),
    };
    if drawn == 0 {
        return usize::try_from(rng.below(unweighted as u64)).unwrap_or(0);
    }
    let mut running = 0;
    let reaches = |rival: &Choice<T>| {
        running += u64::from(rival.weight);
        running >= drawn
    };
    rivals.iter().position(reaches).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    /// Rule 5.3c.
    #[test]
    fn weights_share_the_calls() {
        let mut rng = Rng::from_u64(7);
        let choices = vec![
            Choice { item: 0, priority: 1, weight: 60 },
            Choice { item: 1, priority: 1, weight: 40 },
            Choice { item: 2, priority: 1, weight: 0 },
            Choice { item: 3, priority: 0, weight: 0 },
        ];
        let mut first = [0; 4];
        for _ in 0..10_000 {
            let ordered = order(&mut rng, choices.clone());
            assert_eq!(ordered[0], 3);
            first[ordered[1]] += 1;
        }
        assert!((5_700..6_300).contains(&first[0]), "{first:?}");
        assert!((3_700..4_300).contains(&first[1]), "{first:?}");
        assert!((20..300).contains(&first[2]), "{first:?}");
    }

    /// Rule 5.3c.
    #[test]
    fn what_weighs_the_same_is_first_as_often() {
        for weight in [0, 1, 2, 100] {
            let mut rng = Rng::from_u64(7);
            let choices: Vec<_> = (0..3).map(|item| Choice { item, priority: 1, weight }).collect();
            let mut first = [0; 3];
            for _ in 0..9_000 {
                first[order(&mut rng, choices.clone())[0]] += 1;
            }
            assert!(first.iter().all(|calls| (2_800..3_200).contains(calls)), "weight {weight}: {first:?}");
        }
    }

    proptest! {
        /// Rule 5.3b.
        #[test]
        fn none_is_lost_and_none_overtakes_a_better_priority(seed: u64, keys in prop::collection::vec((0u32..4, any::<u16>()), 0..20)) {
            let choices: Vec<_> = keys.iter().zip(0usize..)
                .map(|(&(priority, weight), item)| Choice { item, priority, weight })
                .collect();
            let ordered = order(&mut Rng::from_u64(seed), choices);
            let mut sorted = ordered.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..keys.len()).collect::<Vec<_>>());
            prop_assert!(ordered.is_sorted_by_key(|&item| keys[item].0));
        }
    }
}
