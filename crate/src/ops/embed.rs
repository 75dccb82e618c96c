//! Token embeddings, with the virtual tokens of prompt methods among them.

use crate::format::quant::Encoding;
use crate::gpu::{Binding, Buffer, BufferId, kernels, spread};
use crate::model::Weight;
use crate::tape::{Op, Tape, Var};

struct Embed {
    ids: BufferId,
    vocab: usize,
    encoding: Encoding,
    codes: Binding,
    scales: Option<Binding>,
    prompt: Option<(Binding, Option<Binding>, usize)>,
    y: Var,
}

impl Tape<'_> {
    /// The rows of `table` `[V, C]` that the first `rows` of `ids` name; an id of V + j names row j of `prompt` `[n, C]`.
    pub fn embed(&mut self, rows: usize, ids: &Buffer, table: &Weight, prompt: Option<&Weight>) -> Var {
        let needs_grad = prompt.is_some_and(Weight::trainable);
        let y = self.var(rows, table.cols, needs_grad);
        let ids = self.list.fixed(ids);
        let (codes, scales) = table.bind(&mut self.list);
        let prompt = prompt.map(|prompt| {
            let (values, _) = prompt.bind(&mut self.list);
            (values, prompt.bind_grad(&mut self.list), prompt.rows)
        });
        let op = Embed { ids, vocab: table.rows, encoding: table.encoding(), codes, scales, prompt, y };
        self.push(op, needs_grad);
        y
    }
}

impl Op for Embed {
    fn forward(&self, t: &mut Tape) {
        let kernel = match self.encoding {
            Encoding::Q4 => &kernels::EMBED_FORWARD_Q4,
            Encoding::Q8 => &kernels::EMBED_FORWARD_Q8,
            Encoding::F16 => &kernels::EMBED_FORWARD_F16,
            Encoding::F32 => &kernels::EMBED_FORWARD_F32,
        };
        let count = t.count(self.y);
        let params = kernels::embed_forward::Params {
            channels: t.cols(self.y) as u32,
            vocab: self.vocab as u32,
            count: count as u32,
        };
        // Without a prompt no id reaches that binding; the table stands in.
        let prompt = self.prompt.map_or(self.codes, |(values, _, _)| values);
        let mut bindings = vec![self.ids.into(), prompt, self.codes];
        bindings.extend(self.scales);
        bindings.push(t.value(self.y).into());
        t.list.dispatch(kernel, &bindings, &params, spread(count));
    }

    fn backward(&self, t: &mut Tape) {
        let Some((_, Some(dprompt), rows)) = self.prompt else { return };
        let channels = t.cols(self.y);
        let params = kernels::embed_backward_prompt::Params {
            channels: channels as u32,
            vocab: self.vocab as u32,
            rows: t.rows(self.y) as u32,
            count: (rows * channels) as u32,
        };
        let bindings = [self.ids.into(), t.grad(self.y).into(), dprompt];
        t.list.dispatch(&kernels::EMBED_BACKWARD_PROMPT, &bindings, &params, spread(rows * channels));
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }
}
