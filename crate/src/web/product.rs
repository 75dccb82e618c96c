//! One linear layer by itself, for a page that measures other libraries beside it.

use wasm_bindgen::prelude::*;

use super::js::thrown;
use crate::format::encoding::Encoding;
use crate::format::ggml::GgmlType;
use crate::format::quant::pack;
use crate::gpu::{Buffer, Context, Plan};
use crate::ops::{LowRank, Parameter, Weight};
use crate::tape::{Tape, Var};
use crate::{Error, Result};

/// The products of a layer with weight `w` `[outputs, inputs]` and, where there is one, a pair of low rank beside it:
/// `y = x (w + B A)^T`, or back `dx = dy (w + B A)`.
#[wasm_bindgen]
pub struct Product {
    context: Context,
    from: Buffer,
    to: Buffer,
    count: usize,
    plan: Plan,
}

#[wasm_bindgen]
impl Product {
    /// For m rows, a weight in the blocks of a GGUF file of the type named, and A `[rank, inputs]` followed by B
    /// `[outputs, rank]`, which may be empty.
    pub async fn create(
        m: usize,
        outputs: usize,
        inputs: usize,
        kind: &str,
        blocks: &[u8],
        pair: &[f32],
        back: bool,
    ) -> std::result::Result<Product, JsValue> {
        Self::new(m, (outputs, inputs), kind, blocks, pair, back).await.map_err(thrown)
    }

    async fn new(
        m: usize,
        (outputs, inputs): (usize, usize),
        kind: &str,
        blocks: &[u8],
        pair: &[f32],
        back: bool,
    ) -> Result<Self> {
        let kinds = [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0, GgmlType::F16, GgmlType::F32];
        let ty = kinds
            .into_iter()
            .find(|ty| ty.name() == kind)
            .ok_or_else(|| Error::unknown_key("encoding", kind, kinds.map(GgmlType::name)))?;
        let encoding = Encoding::of(ty).expect("each of these has one");
        let context = Context::new().await?;
        let packed = pack(ty, blocks)?;
        let codes = context.buffer_with("codes", &packed.codes)?;
        let scales = if packed.scales.is_empty() { None } else { Some(context.buffer_with("scales", &packed.scales)?) };
        let weight = [Weight::frozen("weight", outputs, inputs, encoding, codes, scales)];
        let rank = pair.len() / (outputs + inputs);
        let pair = if rank > 0 { Some(trained(&context, pair, rank, outputs, inputs)?) } else { None };

        let (read, written) = if back { (outputs, inputs) } else { (inputs, outputs) };
        let buffer = |what, cols: usize| context.buffer(what, (m * cols) as u64 * 4);
        let (from, to) = (buffer("from", read)?, buffer("to", written)?);
        let layer = |t: &mut Tape, x: Var| {
            let low =
                pair.as_ref().map(|[a, b]| LowRank { x, a, b, rank, segments: vec![(outputs, true)], scale: 1.0 });
            t.linears(x, &weight, low.as_ref(), None)
        };
        let mut t = Tape::new(&context);
        if back {
            let x = t.leaf(m, inputs, &buffer("x", inputs)?, None);
            t.require_grad(x);
            // Not run: what is asked for is the way back alone.
            t.list.open_gate(0);
            let y = layer(&mut t, x);
            t.list.close_gate();
            t.seed_grad(y, &from);
            t.backward();
            let dx = t.grad(x);
            t.list.keep(dx, &to);
        } else {
            let x = t.leaf(m, inputs, &from, None);
            let y = layer(&mut t, x);
            t.keep(y, &to);
        }
        let plan = t.finish(&context)?;
        Ok(Self { from, to, count: m * written, plan, context })
    }

    /// Puts `x` or `dy` in place.
    pub fn write(&self, values: &[f32]) {
        self.context.write(&self.from, 0, values);
    }

    /// Computes the product; resolves when the device is done.
    pub async fn run(&self) -> std::result::Result<(), JsValue> {
        self.plan.run(0);
        self.context.wait().await.map_err(thrown)
    }

    /// The product, row by row.
    pub async fn values(&self) -> std::result::Result<Vec<f32>, JsValue> {
        self.context.read(&self.to, 0, self.count).await.map_err(thrown)
    }
}

/// A and B as trained weights.
fn trained(context: &Context, pair: &[f32], rank: usize, outputs: usize, inputs: usize) -> Result<[Weight; 2]> {
    let (a, b) = pair.split_at(rank * inputs);
    let mut flat = a.to_vec();
    flat.resize(a.len().next_multiple_of(64), 0.0);
    let offset = flat.len();
    flat.extend(b);
    let values = context.buffer_with("pair", &flat)?;
    let grads = context.buffer("gradient", flat.len() as u64 * 4)?;
    let piece = |offset| Parameter { values: values.clone(), grads: grads.clone(), offset };
    Ok([Weight::trained("A", rank, inputs, piece(0)), Weight::trained("B", outputs, rank, piece(offset))])
}
