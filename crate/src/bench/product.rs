//! One linear layer by itself, for a page that measures other libraries beside it.

use wasm_bindgen::prelude::*;

use crate::format::ggml::GgmlType;
use crate::format::quant::{Encoding, pack};
use crate::gpu::{Buffer, Context, Plan};
use crate::model::Weight;
use crate::tape::Tape;
use crate::web::thrown;
use crate::{Error, Result};

/// `y = x w^T` from a packed weight `[n, k]`.
#[wasm_bindgen]
pub struct Product {
    context: Context,
    x: Buffer,
    y: Buffer,
    count: usize,
    plan: Plan,
}

#[wasm_bindgen]
impl Product {
    /// For `x` `[m, k]`, and a weight in the blocks of a GGUF file of the type named.
    pub async fn create(
        m: usize,
        k: usize,
        n: usize,
        kind: &str,
        blocks: &[u8],
    ) -> std::result::Result<Product, JsValue> {
        Self::new(m, k, n, kind, blocks).await.map_err(thrown)
    }

    async fn new(m: usize, k: usize, n: usize, kind: &str, blocks: &[u8]) -> Result<Self> {
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
        let weight = [Weight::frozen("weight", n, k, encoding, codes, scales)];
        let buffer = |what, count: usize| context.buffer(what, count as u64 * 4);
        let (x, y) = (buffer("x", m * k)?, buffer("y", m * n)?);
        let mut t = Tape::new(&context);
        let input = t.leaf(m, k, &x, None);
        let output = t.linears(input, &weight, None, None);
        t.keep(output, &y);
        let plan = t.finish(&context)?;
        Ok(Self { x, y, count: m * n, plan, context })
    }

    /// Puts `x` in place.
    pub fn write(&self, x: &[f32]) {
        self.context.write(&self.x, 0, x);
    }

    /// Computes `y`; resolves when the device is done.
    pub async fn run(&self) -> std::result::Result<(), JsValue> {
        self.plan.run(0);
        self.context.wait().await.map_err(thrown)
    }

    /// The product `[m, n]`.
    pub async fn values(&self) -> std::result::Result<Vec<f32>, JsValue> {
        self.context.read(&self.y, 0, self.count).await.map_err(thrown)
    }
}
