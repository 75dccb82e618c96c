//! Rotary position embedding over interleaved pairs.

use crate::Result;
use crate::gpu::{Buffer, BufferId, Context, kernels, spread};
use crate::tape::{Op, Origin, Tape, Turned, Var};

/// `(cos, sin)` of every position and frequency: `[positions, D/2]`, computed once in f64, because the trigonometric
/// functions of GPUs differ from each other and lose digits at large angles.
#[derive(Clone)]
pub struct RopeTable {
    buffer: Buffer,
    half_dim: usize,
}

impl RopeTable {
    /// The table for `positions` positions of heads of so many pairs, from what each turns a position; `magnitude`
    /// multiplies what is turned. A pair that turns by 0 stays as it is.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when the table is larger than one binding.
    pub fn new(context: &Context, positions: usize, frequencies: &[f32], magnitude: f64) -> Result<Self> {
        let mut values = Vec::with_capacity(2 * positions * frequencies.len());
        for position in 0..positions {
            for &frequency in frequencies {
                let angle = f64::from((position as f64 * f64::from(frequency)) as f32);
                let magnitude = if frequency == 0.0 { 1.0 } else { magnitude };
                values.extend([angle.cos(), angle.sin()].map(|part| (magnitude * part) as f32));
            }
        }
        Ok(Self { buffer: context.buffer_with("rotary table", &values)?, half_dim: frequencies.len() })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.buffer.size()
    }
}

struct Rope {
    x: Var,
    positions: BufferId,
    table: BufferId,
    half_dim: usize,
    turned: usize,
    y: Var,
}

impl Tape<'_> {
    /// Rotates each head in the first `turned` columns of `x` `[T, C]` by its row's position, and copies the rest.
    pub fn rope(&mut self, x: Var, turned: usize, positions: &Buffer, table: &RopeTable) -> Var {
        let needs_grad = self.needs_grad(x);
        let y = self.var(self.rows(x), self.cols(x), needs_grad);
        let positions = self.list.fixed(positions);
        let half_dim = table.half_dim;
        let table = self.list.fixed(&table.buffer);
        let origin = Turned { from: x, cols: turned, head_dim: 2 * half_dim, positions, table };
        self.set_origin(y, Origin::Turned(origin));
        self.push(Rope { x, positions, table, half_dim, turned, y }, needs_grad);
        y
    }
}

impl Rope {
    fn rotate(&self, t: &mut Tape, input: BufferId, output: BufferId, accumulate: u32, sign: f32) {
        let row = t.cols(self.x);
        let fours = [row, self.turned, 2 * self.half_dim].iter().all(|n| n.is_multiple_of(4));
        let (kernel, numbers) = if fours { (&kernels::ROPE_ROTATE_V4, 4) } else { (&kernels::ROPE_ROTATE_PLAIN, 2) };
        let count = t.count(self.x) / numbers;
        let params = kernels::rope_rotate::Params {
            count: count as u32,
            row: (row / numbers) as u32,
            turned: (self.turned / numbers) as u32,
            turns: (2 * self.half_dim / numbers) as u32,
            accumulate,
            sign,
        };
        let bindings = [input.into(), self.positions.into(), self.table.into(), output.into()];
        t.list.dispatch(kernel, &bindings, &params, spread(count));
    }
}

impl Op for Rope {
    fn forward(&self, t: &mut Tape) {
        self.rotate(t, t.value(self.x), t.value(self.y), 0, 1.0);
    }

    fn backward(&self, t: &mut Tape) {
        let dy = t.grad(self.y);
        if let Some((dx, accumulate)) = t.grad_target(self.x) {
            self.rotate(t, dy, dx, accumulate, -1.0);
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
