//! How numbers lie in files and on the device, which is not always the same.

use std::rc::Rc;

/// In which order a tensor lies on the device, where that is not the file's. Rows of q and k are half-split in the files
/// of Hugging Face and interleaved on the device, as they are in a llama's GGUF.
#[derive(Clone, Debug)]
pub enum Order {
    /// For each row of the file, its place on the device.
    Rows(Rc<[usize]>),
    /// For each column of the file, its place on the device.
    Columns(Rc<[usize]>),
    /// The rows of the device, of which there are so many, are the file's columns.
    Transposed(usize),
}

/// What a head has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRows {
    /// D, its rows.
    pub dim: usize,
    /// The first of them, whose pairs are turned.
    pub turned: usize,
}

impl HeadRows {
    /// The device place of each file row: row `p R/2 + j` of the R that are turned (element p of pair j) is row `2 j + p` of
    /// the device.
    fn place(self, row: usize) -> usize {
        let (head, within) = (row / self.dim, row % self.dim);
        if within >= self.turned {
            return row;
        }
        let half = self.turned / 2;
        head * self.dim + 2 * (within % half) + within / half
    }
}

impl Order {
    /// Rows in parts below each other, each of so many: heads whose pairs are turned, or others.
    pub fn of_rows(parts: impl Iterator<Item = (usize, bool)>, head: HeadRows) -> Self {
        let mut device = Vec::new();
        for (rows, turned) in parts {
            let first = device.len();
            device.extend((0..rows).map(|row| first + if turned { head.place(row) } else { row }));
        }
        Self::Rows(device.into())
    }

    /// Rows or columns that are `count` times over the keys and the values of a layer, `width` of each.
    pub fn keys_and_values(columns: bool, count: usize, width: usize, head: HeadRows) -> Self {
        let place = |i: usize| match i / width % 2 {
            0 => i - i % width + head.place(i % width),
            _ => i,
        };
        let device = (0..2 * count * width).map(place).collect();
        if columns { Self::Columns(device) } else { Self::Rows(device) }
    }

    /// The order of some of the rows, no head of which goes on outside.
    ///
    /// # Panics
    /// Where a head is cut, and where it is not rows that change places.
    pub fn of_some_rows(&self, first: usize, count: usize) -> Self {
        let Self::Rows(device) = self else { panic!("some rows of what has its rows in another order") };
        let place = |&place: &usize| {
            assert!((first..first + count).contains(&place), "rows {first} and {count} more are whole heads");
            place - first
        };
        Self::Rows(device[first..][..count].iter().map(place).collect())
    }

    /// Values `[rows, cols]` in device order to file order, or back.
    pub fn turn<T: Copy + Default>(&self, values: &[T], to_device: bool) -> Vec<T> {
        let mut out = vec![T::default(); values.len()];
        // As columns, each is one number of a row; as rows, all the numbers of one.
        let (device, outer, inner) = match self {
            Self::Rows(device) => (device, 1, values.len() / device.len()),
            Self::Columns(device) => (device, values.len() / device.len(), 1),
            Self::Transposed(device_rows) => {
                let cols = if to_device { *device_rows } else { values.len() / device_rows };
                let rows = values.len() / cols;
                for (row, values) in values.chunks(cols).enumerate() {
                    values.iter().enumerate().for_each(|(col, &value)| out[col * rows + row] = value);
                }
                return out;
            }
        };
        let count = device.len();
        for block in 0..outer {
            for (file, &device) in device.iter().enumerate() {
                let at = |place: usize| (block * count + place) * inner;
                let (from, to) = if to_device { (at(file), at(device)) } else { (at(device), at(file)) };
                out[to..][..inner].copy_from_slice(&values[from..][..inner]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: HeadRows = HeadRows { dim: 4, turned: 4 };

    #[test]
    fn rows_go_to_the_file_and_back() {
        let order = Order::of_rows([(8, true)].into_iter(), HEAD);
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let file = order.turn(&values, false);
        // Device rows 0..4 are pairs (0, 1), (2, 3); the file has first elements, then second elements.
        assert_eq!(file[..12], [0., 1., 2., 6., 7., 8., 3., 4., 5., 9., 10., 11.]);
        assert_eq!(order.turn(&file, true), values);
    }

    #[test]
    fn only_parts_that_are_turned_change_places() {
        let order = Order::of_rows([(4, true), (4, false)].into_iter(), HEAD);
        assert_eq!(order.turn(&[0, 1, 2, 3, 4, 5, 6, 7], false), [0, 2, 1, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_is_not_turned_of_a_head_stays() {
        let order = Order::of_rows([(12, true)].into_iter(), HeadRows { dim: 6, turned: 4 });
        let rows: Vec<u8> = (0..12).collect();
        assert_eq!(order.turn(&rows, false), [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    }

    #[test]
    fn heads_are_turned_alone() {
        let order = Order::of_rows([(8, true)].into_iter(), HEAD);
        let rows: Vec<u8> = (0..8).collect();
        let pieces = [0, 4].map(|first| order.of_some_rows(first, 4).turn(&rows[first..][..4], true));
        assert_eq!(pieces.concat(), order.turn(&rows, true));
    }

    #[test]
    fn keys_change_places_and_values_do_not() {
        let order = Order::keys_and_values(true, 2, 4, HEAD);
        let device: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let file = order.turn(&device, false);
        assert_eq!(file[..16], [0., 2., 1., 3., 4., 5., 6., 7., 8., 10., 9., 11., 12., 13., 14., 15.]);
        assert_eq!(order.turn(&file, true), device);
        assert_eq!(Order::keys_and_values(false, 2, 4, HEAD).turn(&device, false)[..6], [0., 1., 4., 5., 2., 3.]);
    }

    #[test]
    fn a_matrix_goes_to_the_file_transposed_and_back() {
        let device: Vec<u8> = (0..6).collect();
        let file = Order::Transposed(2).turn(&device, false);
        assert_eq!(file, [0, 3, 1, 4, 2, 5]);
        assert_eq!(Order::Transposed(2).turn(&file, true), device);
    }
}
