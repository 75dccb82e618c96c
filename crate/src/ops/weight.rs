//! A matrix on the device: frozen in any encoding, or a trainable f32 piece of the flat parameters.

use crate::format::encoding::Encoding;
use crate::gpu::{Binding, Buffer, Recorder};

/// A trainable tensor: a piece of the flat value and gradient buffers.
#[derive(Clone)]
pub struct Parameter {
    /// All parameters, f32.
    pub values: Buffer,
    /// Their gradients, laid out alike.
    pub grads: Buffer,
    /// Where this one starts, in elements: a multiple of 64, as bindings want.
    pub offset: usize,
}

/// A matrix `[rows, cols]`: `rows` output and `cols` input features for a linear layer.
#[derive(Clone)]
pub struct Weight {
    /// The tensor's name.
    pub name: String,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    storage: Storage,
}

#[derive(Clone)]
enum Storage {
    Frozen { encoding: Encoding, pieces: Vec<Piece> },
    Trainable(Parameter),
}

/// Some rows of a frozen matrix, as one binding holds them: see [`Encoding`] for what is in the buffers.
#[derive(Clone)]
pub struct Piece {
    /// How many rows.
    pub rows: usize,
    /// Their codes.
    pub codes: Buffer,
    /// Their scales, where the encoding has some.
    pub scales: Option<Buffer>,
}

impl Weight {
    /// A frozen weight over uploaded buffers: see [`Encoding`] for what they hold.
    pub fn frozen(
        name: impl Into<String>,
        rows: usize,
        cols: usize,
        encoding: Encoding,
        codes: Buffer,
        scales: Option<Buffer>,
    ) -> Self {
        Self::in_pieces(name, cols, encoding, vec![Piece { rows, codes, scales }])
    }

    /// A frozen weight in pieces, which lie below each other: several where one binding does not hold it.
    pub fn in_pieces(name: impl Into<String>, cols: usize, encoding: Encoding, pieces: Vec<Piece>) -> Self {
        let rows = pieces.iter().map(|piece| piece.rows).sum();
        Self { name: name.into(), rows, cols, storage: Storage::Frozen { encoding, pieces } }
    }

    /// Its pieces, each with its first row and as a weight of its own: one, but where one binding does not hold it.
    pub fn pieces(&self) -> Vec<(usize, Weight)> {
        let Storage::Frozen { encoding, pieces } = &self.storage else { return vec![(0, self.clone())] };
        let mut first = 0;
        let own = |piece: &Piece| {
            let own = Self::in_pieces(&self.name, self.cols, *encoding, vec![piece.clone()]);
            first += piece.rows;
            (first - piece.rows, own)
        };
        pieces.iter().map(own).collect()
    }

    /// A trainable f32 weight.
    pub fn trained(name: impl Into<String>, rows: usize, cols: usize, parameter: Parameter) -> Self {
        Self { name: name.into(), rows, cols, storage: Storage::Trainable(parameter) }
    }

    /// Some rows of a trainable weight, as a weight of their own.
    ///
    /// # Panics
    /// For a frozen one.
    pub fn some_rows(&self, first: usize, rows: usize) -> Self {
        let Storage::Trainable(parameter) = &self.storage else { panic!("{} is frozen", self.name) };
        let parameter = Parameter { offset: parameter.offset + first * self.cols, ..parameter.clone() };
        Self::trained(&self.name, rows, self.cols, parameter)
    }

    /// Whether steps move it.
    pub fn trainable(&self) -> bool {
        matches!(self.storage, Storage::Trainable(_))
    }

    /// How its values lie in memory.
    pub fn encoding(&self) -> Encoding {
        match &self.storage {
            Storage::Frozen { encoding, .. } => *encoding,
            Storage::Trainable(_) => Encoding::F32,
        }
    }

    /// Bytes on the device; a trainable weight counts in the flat parameters instead.
    pub fn bytes(&self) -> u64 {
        match &self.storage {
            Storage::Frozen { pieces, .. } => {
                let scales = |piece: &Piece| piece.scales.as_ref().map_or(0, Buffer::size);
                pieces.iter().map(|piece| piece.codes.size() + scales(piece)).sum()
            }
            Storage::Trainable(_) => 0,
        }
    }

    fn piece(&self, list: &mut Recorder, buffer: &Buffer, offset: usize) -> Binding {
        list.fixed(buffer).slice(offset as u64 * 4, (self.rows * self.cols * 4) as u64)
    }

    /// Codes and scales as bindings.
    ///
    /// # Panics
    /// For a weight in several pieces: see [`Weight::pieces`].
    pub(crate) fn bind(&self, list: &mut Recorder) -> (Binding, Option<Binding>) {
        match &self.storage {
            Storage::Frozen { pieces, .. } => {
                let [Piece { codes, scales, .. }] = &pieces[..] else { panic!("{} is in pieces", self.name) };
                (list.fixed(codes).into(), scales.as_ref().map(|scales| list.fixed(scales).into()))
            }
            Storage::Trainable(parameter) => (self.piece(list, &parameter.values, parameter.offset), None),
        }
    }

    /// The numbers of an f32 weight, frozen or trainable, as a binding.
    ///
    /// # Panics
    /// For any other: the loader makes sure that norms are f32, and what is trained is.
    pub(crate) fn bind_dense(&self, list: &mut Recorder) -> Binding {
        assert!(self.encoding() == Encoding::F32, "{} is not an f32 tensor", self.name);
        self.bind(list).0
    }

    /// The gradients from this weight's to `last`'s as one binding, and the element in it at which the last starts. Both
    /// are trainable pieces of the same flat parameters, this one first.
    ///
    /// # Panics
    /// For any others.
    pub(crate) fn bind_grads_to(&self, last: &Weight, list: &mut Recorder) -> (Binding, usize) {
        match (&self.storage, &last.storage) {
            (Storage::Trainable(from), Storage::Trainable(to)) if from.grads == to.grads && from.offset < to.offset => {
                let at = to.offset - from.offset;
                let count = at + last.rows * last.cols;
                (list.fixed(&from.grads).slice(from.offset as u64 * 4, count as u64 * 4), at)
            }
            _ => panic!("{} and {} are not trained side by side", self.name, last.name),
        }
    }

    /// The gradient as a binding; `None` for a frozen weight.
    pub(crate) fn bind_grad(&self, list: &mut Recorder) -> Option<Binding> {
        match &self.storage {
            Storage::Frozen { .. } => None,
            Storage::Trainable(parameter) => Some(self.piece(list, &parameter.grads, parameter.offset)),
        }
    }
}
