//! Token embeddings, with the virtual tokens of prompt methods among them.

use super::Weight;
use crate::format::encoding::Encoding;
use crate::gpu::{Binding, Buffer, BufferId, Kernel, kernels, spread};
use crate::tape::{Op, Tape, Var};

struct Embed {
    ids: BufferId,
    vocab: usize,
    scale: f32,
    encoding: Encoding,
    pieces: Vec<Piece>,
    table_grad: Option<Binding>,
    prompt: Option<Var>,
    y: Var,
}

/// Rows of the table that lie in one binding.
struct Piece {
    first: usize,
    rows: usize,
    codes: Binding,
    scales: Option<Binding>,
}

impl Tape<'_> {
    /// The rows of `table` `[V, C]` that the first `rows` of `ids` name, times `scale`; an id of V + j names row j of `prompt` `[n, C]`,
    /// and one past that, or past V where there is no prompt, a row of zeros.
    pub fn embed(&mut self, rows: usize, ids: &Buffer, table: &Weight, scale: f32, prompt: Option<Var>) -> Var {
        let needs_grad = table.trainable() || prompt.is_some_and(|prompt| self.needs_grad(prompt));
        let y = self.var(rows, table.cols, needs_grad);
        let ids = self.list.fixed(ids);
        let bound = |(first, piece): (usize, Weight)| {
            let (codes, scales) = piece.bind(&mut self.list);
            Piece { first, rows: piece.rows, codes, scales }
        };
        let pieces = table.pieces().into_iter().map(bound).collect();
        let table_grad = table.bind_grad(&mut self.list);
        let op = Embed { ids, vocab: table.rows, scale, encoding: table.encoding(), pieces, table_grad, prompt, y };
        self.push(op, needs_grad);
        y
    }
}

impl Op for Embed {
    fn forward(&self, t: &mut Tape) {
        let kernel = Kernel::named(&format!("embed_forward_{}", self.encoding.name()));
        let count = t.count(self.y);
        for piece in &self.pieces {
            let params = kernels::embed_forward::Params {
                channels: t.cols(self.y) as u32,
                vocab: self.vocab as u32,
                first: piece.first as u32,
                rows: piece.rows as u32,
                tokens: self.prompt.map_or(0, |prompt| t.rows(prompt) as u32),
                count: count as u32,
                scale: self.scale,
            };
            // Without a prompt no id reaches that binding; the table stands in.
            let prompt = self.prompt.map_or(piece.codes, |prompt| t.value(prompt).into());
            let mut bindings = vec![self.ids.into(), prompt, piece.codes];
            bindings.extend(piece.scales);
            bindings.push(t.value(self.y).into());
            t.list.dispatch(kernel, &bindings, &params, spread(count));
        }
    }

    // Rows are copied: each row of the table, or of the prompt, gets the sum of dy over the rows that it went to.
    fn backward(&self, t: &mut Tape) {
        let (rows, channels, dy) = (t.rows(self.y), t.cols(self.y), t.grad(self.y));
        if let Some(dtable) = self.table_grad {
            let params = kernels::embed_backward_table::Params {
                channels: channels as u32,
                vocab: self.vocab as u32,
                rows: rows as u32,
                scale: self.scale,
            };
            let bindings = [self.ids.into(), dy.into(), dtable];
            t.list.weigh(16.0 * (rows * channels) as f64 + (rows * rows) as f64);
            t.list.dispatch(&kernels::EMBED_BACKWARD_TABLE, &bindings, &params, [rows as u32, 1, 1]);
        }
        if let Some(prompt) = self.prompt
            && let Some((dprompt, accumulate)) = t.grad_target(prompt)
        {
            let count = t.count(prompt);
            let params = kernels::embed_backward_prompt::Params {
                channels: channels as u32,
                vocab: self.vocab as u32,
                rows: rows as u32,
                count: count as u32,
                accumulate,
            };
            let bindings = [self.ids.into(), dy.into(), dprompt.into()];
            t.list.dispatch(&kernels::EMBED_BACKWARD_PROMPT, &bindings, &params, spread(count));
        }
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
