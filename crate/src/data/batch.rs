//! Examples laid one after another in the `[T]` rows that a step works on.

use super::render::Rendered;

/// The label of a row that predicts nothing.
pub const NO_LABEL: u32 = u32::MAX;

/// T is a multiple of this, so that few lengths occur and few plans are built.
pub const ROUND: usize = 16;

/// How examples are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Fill `[T]` with as many examples as fit, rather than with a fixed number.
    pub packing: bool,
    /// Examples in a batch; with packing, `[T]` holds this many of `max_length`.
    pub per_device_train_batch_size: usize,
    /// Most tokens in one example, virtual ones not counted.
    pub max_length: usize,
    /// Virtual tokens before each example: ids `vocab_size..vocab_size + virtual_tokens`.
    pub virtual_tokens: usize,
    /// Ids from here on are virtual.
    pub vocab_size: usize,
}

/// Which rows of an example are asked what they predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Those before a token that is learnt.
    Targets,
    /// In the first example of a group every row, and in the others those before a token that is learnt.
    Prompts,
    /// The one that a score stands at: that of the last token that is no padding, as the transformers library has it.
    Score {
        /// The token that pads, and that it looks past: often the one that ends a text.
        pad: Option<u32>,
    },
    /// Those before a token that is learnt, and the last one, where fewer tokens are learnt than the most.
    Values {
        /// The most tokens that are learnt.
        longest: usize,
    },
}

/// One forward and backward pass: T tokens in segments, each of which attends only to itself.
/// Every vector has length T. The rows left over at the end are padding: segments of their own of
/// length 1, with id 0, position 0 and no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// T, the token budget.
    pub t: usize,
    /// Token ids; from `vocab_size` on, virtual ones.
    pub ids: Vec<u32>,
    /// Place in the segment, from 0, virtual tokens included.
    pub positions: Vec<u32>,
    /// Row at which the token's segment starts.
    pub segment_start: Vec<u32>,
    /// Row past the end of the token's segment.
    pub segment_end: Vec<u32>,
    /// The id that the row must predict: that of the next row. [`NO_LABEL`] where there is none.
    pub labels: Vec<u32>,
    /// Rows that are not padding.
    pub tokens: usize,
    /// Rows with a label.
    pub target_tokens: usize,
    /// Which examples the segments are, in order. Those of a group stand together.
    pub examples: Vec<usize>,
}

/// What a plan must have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// T.
    pub rows: usize,
    /// Most rows with a label.
    pub targets: usize,
}

impl Size {
    /// Room for T = `rows` rows, a multiple of [`ROUND`], of which `targets` have a label: rounded up to a power of two, so
    /// that few plans are built.
    pub(crate) fn new(rows: usize, targets: usize) -> Self {
        Self { rows, targets: targets.next_power_of_two().clamp(ROUND, rows.max(ROUND)) }
    }

    /// Room for either.
    pub fn or(self, other: Self) -> Self {
        Self { rows: self.rows.max(other.rows), targets: self.targets.max(other.targets) }
    }
}

impl Batch {
    /// What its plan must have room for.
    pub fn size(&self) -> Size {
        Size::new(self.t, self.target_tokens)
    }

    /// Which keys each row sees, and which rows see each key, as `[start, end)`, never decreasing: a row sees those of its
    /// segment up to itself. Of a segment only the rows from the first that `asks` to the last see anything.
    pub fn masks(&self, asks: impl Fn(u32) -> bool) -> [Vec<[u32; 2]>; 2] {
        let [mut keys_of_row, mut rows_of_key] = [Vec::with_capacity(self.t), Vec::with_capacity(self.t)];
        while let Some(&start) = self.segment_start.get(keys_of_row.len()) {
            let segment = start..self.segment_end[start as usize];
            let first = segment.clone().find(|&row| asks(row)).unwrap_or(segment.end);
            // The row behind the last.
            let past = segment.clone().rev().find(|&row| asks(row)).map_or(start, |row| row + 1);
            for row in segment {
                keys_of_row.push(match row {
                    row if row >= past => [past; 2],
                    row if row < first => [start; 2],
                    row => [start, row + 1],
                });
                rows_of_key.push(if row < past { [row.max(first), past] } else { [row; 2] });
            }
        }
        [keys_of_row, rows_of_key]
    }
}

/// Rendered examples, and how they are laid out. Those that an objective compares are a group, and share a batch.
pub struct Dataset {
    examples: Vec<Rendered>,
    layout: Layout,
    /// Examples in a group.
    group: usize,
    asked: Asked,
    /// For each example, the rows that are asked.
    targets: Vec<usize>,
    /// T with packing.
    capacity: usize,
}

impl Dataset {
    /// A data set of examples no longer than the layout's `max_length`, each a group of its own.
    ///
    /// # Panics
    /// As [`Dataset::grouped`].
    pub fn new(examples: Vec<Rendered>, layout: Layout) -> Self {
        Self::grouped(examples, layout, 1, Asked::Targets)
    }

    /// A data set of groups of so many examples, side by side. The layout's batch size counts groups.
    ///
    /// # Panics
    /// When an example is longer than `max_length`, a group is not whole, or the batch size is 0.
    pub fn grouped(examples: Vec<Rendered>, layout: Layout, group: usize, asked: Asked) -> Self {
        let longest = examples.iter().map(|example| example.ids.len()).max().unwrap_or(0);
        assert!(longest <= layout.max_length, "{longest} tokens in an example, of {}", layout.max_length);
        assert!(layout.per_device_train_batch_size > 0, "batches of no examples");
        assert!(examples.len().is_multiple_of(group), "{} examples in groups of {group}", examples.len());
        let full = layout.per_device_train_batch_size * group * (layout.max_length + layout.virtual_tokens);
        let all: usize = examples.iter().map(|example| example.ids.len() + layout.virtual_tokens).sum();
        let capacity = full.min(all).next_multiple_of(ROUND);
        let mut dataset = Dataset { examples, layout, group, asked, targets: Vec::new(), capacity };
        let count = |example| dataset.labels(example).into_iter().filter(|label| *label != NO_LABEL).count();
        dataset.targets = (0..dataset.examples.len()).map(count).collect();
        dataset
    }

    /// The examples, in file order.
    pub fn examples(&self) -> &[Rendered] {
        &self.examples
    }

    /// How they are laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Rows of an example that are asked.
    pub fn targets(&self, example: usize) -> usize {
        self.targets[example]
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.examples.len() / self.group
    }

    /// The numbers of the groups in each batch, for groups taken in the given order.
    ///
    /// With packing, each goes into the first batch that has room for it.
    pub fn plan(&self, order: &[usize]) -> Vec<Vec<usize>> {
        if !self.layout.packing {
            return order.chunks(self.layout.per_device_train_batch_size).map(<[usize]>::to_vec).collect();
        }
        let mut batches: Vec<(usize, Vec<usize>)> = Vec::new();
        for group in order {
            let len = self.tokens(&[*group]);
            match batches.iter_mut().find(|(used, _)| used + len <= self.capacity) {
                Some((used, members)) => {
                    *used += len;
                    members.push(*group);
                }
                None => batches.push((len, vec![*group])),
            }
        }
        batches.into_iter().map(|(_, members)| members).collect()
    }

    /// The examples of some groups.
    fn members(&self, groups: &[usize]) -> impl Iterator<Item = usize> {
        groups.iter().flat_map(|group| group * self.group..(group + 1) * self.group)
    }

    /// Rows that an example takes.
    fn len(&self, example: usize) -> usize {
        self.examples[example].ids.len() + self.layout.virtual_tokens
    }

    /// Rows that some groups take.
    fn tokens(&self, groups: &[usize]) -> usize {
        self.members(groups).map(|example| self.len(example)).sum()
    }

    /// T of a batch of these groups.
    pub fn rows(&self, groups: &[usize]) -> usize {
        if self.layout.packing { self.capacity } else { self.tokens(groups).next_multiple_of(ROUND) }
    }

    /// The labels of an example's rows; of virtual tokens, only the last may have one.
    fn labels(&self, example: usize) -> Vec<u32> {
        let Rendered { ids, targets, .. } = &self.examples[example];
        let virtual_tokens = self.layout.virtual_tokens;
        let mut labels = vec![NO_LABEL; self.len(example)];
        if let Asked::Score { pad } = self.asked {
            let last = ids.iter().rposition(|id| Some(*id) != pad).unwrap_or(0);
            // A score has no label, but a row that is asked has some.
            labels[virtual_tokens + last] = 0;
            return labels;
        }
        let all = self.asked == Asked::Prompts && example.is_multiple_of(self.group);
        for (index, (id, target)) in ids.iter().zip(targets).enumerate() {
            // Row i predicts row i + 1. Nothing stands before the first token, unless there are virtual ones.
            if let Some(row) = (virtual_tokens + index).checked_sub(1).filter(|_| all || *target) {
                labels[row] = *id;
            }
        }
        if let Asked::Values { longest } = self.asked {
            let learnt = targets.iter().filter(|target| **target).count();
            if (1..longest).contains(&learnt) {
                // A value has no label, but a row that is asked has some.
                *labels.last_mut().expect("an example has tokens") = 0;
            }
        }
        labels
    }

    /// Other examples, laid out in the same way.
    pub fn with(&self, examples: Vec<Rendered>) -> Self {
        Self::grouped(examples, self.layout, self.group, self.asked)
    }

    /// [`Batch::size`] of a batch of these groups.
    pub fn size(&self, groups: &[usize]) -> Size {
        Size::new(self.rows(groups), self.members(groups).map(|example| self.targets[example]).sum())
    }

    /// Lays the examples of some groups out.
    ///
    /// # Panics
    /// When a group does not exist, or, with packing, they do not fit: use [`Dataset::plan`].
    pub fn batch(&self, groups: &[usize]) -> Batch {
        let tokens = self.tokens(groups);
        let t = self.rows(groups);
        assert!(tokens <= t, "{tokens} tokens in a batch of {t}");
        let mut batch = Batch {
            t,
            ids: Vec::with_capacity(t),
            positions: Vec::with_capacity(t),
            segment_start: Vec::with_capacity(t),
            segment_end: Vec::with_capacity(t),
            labels: Vec::with_capacity(t),
            tokens,
            target_tokens: 0,
            examples: self.members(groups).collect(),
        };
        let first_virtual = self.layout.vocab_size as u32;
        for &example in &batch.examples {
            let len = self.len(example);
            let start = batch.ids.len();
            batch.ids.extend((first_virtual..).take(self.layout.virtual_tokens));
            batch.ids.extend(&self.examples[example].ids);
            batch.positions.extend(0..len as u32);
            batch.segment_start.extend(std::iter::repeat_n(start as u32, len));
            batch.segment_end.extend(std::iter::repeat_n((start + len) as u32, len));
            batch.labels.extend(self.labels(example));
        }
        for row in tokens as u32..t as u32 {
            batch.ids.push(0);
            batch.positions.push(0);
            batch.segment_start.push(row);
            batch.segment_end.push(row + 1);
            batch.labels.push(NO_LABEL);
        }
        batch.target_tokens = batch.labels.iter().filter(|label| **label != NO_LABEL).count();
        batch
    }
}

/// The order of `n` examples in an epoch (from 0): file order, or shuffled by seed and epoch. The same
/// on every platform.
pub fn order(n: usize, seed: u64, epoch: u64, shuffle: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    if shuffle {
        let mut state = mix(mix(seed).wrapping_add(epoch));
        for i in (1..n).rev() {
            state = state.wrapping_add(GOLDEN);
            // The high half of a product maps 64 random bits to 0..=i without a platform-sized division.
            let j = (u128::from(mix(state)) * (i as u128 + 1)) >> 64;
            order.swap(i, j as usize);
        }
    }
    order
}

/// What SplitMix64 goes on by.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(GOLDEN);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u32 = NO_LABEL;

    fn example(ids: &[u32], first_target: usize) -> Rendered {
        let targets = (0..ids.len()).map(|i| i >= first_target).collect();
        Rendered { ids: ids.to_vec(), targets, ..Rendered::default() }
    }

    fn dataset(lens: &[usize], packing: bool, batch: usize, virtual_tokens: usize) -> Dataset {
        let examples = lens.iter().map(|len| example(&(10..10 + *len as u32).collect::<Vec<_>>(), 0)).collect();
        let layout =
            Layout { packing, per_device_train_batch_size: batch, max_length: 30, virtual_tokens, vocab_size: 100 };
        Dataset::new(examples, layout)
    }

    #[test]
    fn two_examples_in_a_batch() {
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 2,
            max_length: 8,
            virtual_tokens: 0,
            vocab_size: 100,
        };
        let data = Dataset::new(vec![example(&[5, 6, 7, 8], 2), example(&[9, 1, 2], 0)], layout);
        let batch = data.batch(&[1, 0]);
        assert_eq!(batch.t, 16);
        assert_eq!(batch.ids[..8], [9, 1, 2, 5, 6, 7, 8, 0]);
        assert_eq!(batch.positions[..8], [0, 1, 2, 0, 1, 2, 3, 0]);
        assert_eq!(batch.segment_start[..9], [0, 0, 0, 3, 3, 3, 3, 7, 8]);
        assert_eq!(batch.segment_end[..9], [3, 3, 3, 7, 7, 7, 7, 8, 9]);
        assert_eq!(batch.labels[..9], [1, 2, N, N, 7, 8, N, N, N]);
        assert_eq!((batch.tokens, batch.target_tokens), (7, 4));
        assert_eq!(batch.examples, [1, 0]);
        for column in [&batch.ids, &batch.positions, &batch.segment_start, &batch.segment_end, &batch.labels] {
            assert_eq!(column.len(), 16);
        }
    }

    #[test]
    fn virtual_tokens_come_first_and_the_last_of_them_predicts() {
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 1,
            max_length: 8,
            virtual_tokens: 2,
            vocab_size: 100,
        };
        let data = Dataset::new(vec![example(&[5, 6, 7], 0), example(&[5, 6, 7], 2)], layout);
        let batch = data.batch(&[0]);
        assert_eq!(batch.ids[..6], [100, 101, 5, 6, 7, 0]);
        assert_eq!(batch.positions[..6], [0, 1, 2, 3, 4, 0]);
        assert_eq!(batch.labels[..6], [N, 5, 6, 7, N, N]);
        assert_eq!((batch.tokens, batch.target_tokens), (5, 3));
        assert_eq!(data.batch(&[1]).labels[..6], [N, N, N, 7, N, N]);
    }

    #[test]
    fn only_rows_between_targets_see_anything_where_only_they_are_asked() {
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 3,
            max_length: 8,
            virtual_tokens: 0,
            vocab_size: 100,
        };
        let mut targets = example(&[1, 2, 3, 4, 5, 6], 9);
        (targets.targets[2], targets.targets[4]) = (true, true);
        let batch = Dataset::new(vec![example(&[7, 8], 9), targets, example(&[9], 0)], layout).batch(&[0, 1, 2]);
        let [keys, rows] = batch.masks(|_| true);
        assert_eq!(keys[..9], [[0, 1], [0, 2], [2, 3], [2, 4], [2, 5], [2, 6], [2, 7], [2, 8], [8, 9]]);
        assert_eq!(rows[..9], [[0, 2], [1, 2], [2, 8], [3, 8], [4, 8], [5, 8], [6, 8], [7, 8], [8, 9]]);
        let [keys, rows] = batch.masks(|row| batch.labels[row as usize] != NO_LABEL);
        // Rows 3 and 5 have a target; the first segment has none.
        assert_eq!(keys[..9], [[0, 0], [0, 0], [2, 2], [2, 4], [2, 5], [2, 6], [6, 6], [6, 6], [8, 8]]);
        assert_eq!(rows[..9], [[0, 0], [1, 1], [3, 6], [3, 6], [4, 6], [5, 6], [6, 6], [7, 7], [8, 8]]);
        for mask in [&keys, &rows] {
            assert_eq!(mask.len(), 16);
            assert!(mask.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]), "{mask:?}");
        }
    }

    #[test]
    fn groups_stay_together_and_say_which_rows_are_asked() {
        let layout = Layout {
            packing: false,
            per_device_train_batch_size: 1,
            max_length: 8,
            virtual_tokens: 0,
            vocab_size: 100,
        };
        let examples =
            || vec![example(&[1, 2, 3], 2), example(&[1, 2, 4, 9], 2), example(&[5, 6], 1), example(&[5, 9, 9], 1)];
        let data = |asked| Dataset::grouped(examples(), layout, 2, asked);
        assert_eq!(data(Asked::Targets).groups(), 2);
        assert_eq!(data(Asked::Targets).plan(&[1, 0]), [[1], [0]]);
        let batch = data(Asked::Targets).batch(&[1, 0]);
        assert_eq!(batch.examples, [2, 3, 0, 1]);
        assert_eq!(batch.ids[..12], [5, 6, 5, 9, 9, 1, 2, 3, 1, 2, 4, 9]);
        assert_eq!(batch.labels[..12], [6, N, 9, 9, N, N, 3, N, N, 4, 9, N]);
        // Of a pair, the chosen answer's prompt is learnt, too.
        assert_eq!(data(Asked::Prompts).batch(&[0]).labels[..7], [2, 3, N, N, 4, 9, N]);
        // A score stands at the last token that does not pad.
        for (pad, want) in
            [(None, [N, N, 0, N, N, N, 0]), (Some(9), [N, N, 0, N, N, 0, N]), (Some(1), [N, N, 0, N, N, N, 0])]
        {
            let data = data(Asked::Score { pad });
            assert_eq!(data.batch(&[0]).labels[..7], want, "{pad:?}");
            assert_eq!(data.size(&[0]), data.batch(&[0]).size());
        }
        let packed = Layout { packing: true, ..layout };
        let data = Dataset::grouped(examples(), packed, 2, Asked::Targets);
        assert_eq!(data.plan(&[0, 1]), [vec![0, 1]]);
    }

    #[test]
    fn packing_is_first_fit_and_has_one_length() {
        let data = dataset(&[20, 25, 10, 8, 30, 2], true, 1, 0);
        let plan = data.plan(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(plan, [vec![0, 2, 5], vec![1], vec![3], vec![4]]);
        for members in &plan {
            assert_eq!(data.batch(members).t, 32);
        }
        // Less data than [T] could hold makes it smaller; virtual tokens take room.
        assert_eq!(dataset(&[5, 6], true, 4, 0).batch(&[0, 1]).t, 16);
        assert_eq!(dataset(&[5, 6], true, 4, 10).batch(&[0, 1]).t, 32);
        assert_eq!(dataset(&[30, 30], true, 1, 8).plan(&[1, 0]), [[1], [0]]);
    }

    #[test]
    fn without_packing_a_batch_is_a_number_of_examples() {
        let data = dataset(&[20, 25, 10], false, 2, 0);
        assert_eq!(data.plan(&[2, 0, 1]), [vec![2, 0], vec![1]]);
        assert_eq!((data.batch(&[2, 0]).t, data.batch(&[1]).t), (32, 32));
        assert_eq!(data.batch(&[2]).t, 16);
    }

    #[test]
    fn shuffles_are_permutations_of_seed_and_epoch() {
        assert_eq!(order(4, 7, 0, false), [0, 1, 2, 3]);
        assert_eq!(order(8, 42, 0, true), order(8, 42, 0, true));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..4 {
            for epoch in 0..4 {
                let shuffled = order(50, seed, epoch, true);
                let mut sorted = shuffled.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..50).collect::<Vec<_>>());
                assert!(seen.insert(shuffled), "seed {seed}, epoch {epoch} repeat another");
            }
        }
        assert!(order(0, 1, 1, true).is_empty());
    }

    #[test]
    fn shuffles_are_fair() {
        let mut first = [0; 5];
        for seed in 0..5000 {
            first[order(5, seed, 0, true)[0]] += 1;
        }
        assert!(first.iter().all(|count| (900..1100).contains(count)), "{first:?}");
    }
}
