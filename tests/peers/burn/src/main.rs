//! burn on wgpu: products, the forward pass and one LoRA training step on the SmolLM2-135M shape, random weights.
//!
//!     cargo run --release -- [--tokens 64,128] [--steps 6] [--what gemm,forward,lora_step]
//!
//! Fusion and autotune are on, as burn has them by default, unless `--no-default-features` is given to cargo. Frozen
//! weights are plain tensors that autodiff does not track; the adapters are a module, and burn's AdamW steps it. The
//! rotary embedding is written with halves, as Hugging Face has it: burn's own takes a product with an inner dimension
//! of 2. Attention is burn's own function.
//!
//! With autotune the LoRA step has not been seen to finish on a software adapter: see ../README.md.

#[path = "../../report.rs"]
mod report;

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, silu};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DeviceKind, TensorData};
use report::{
    ADAPTER_SEED, AMPLITUDE, C, EMBED_SEED, EPS, GEMMS, HEAD, HEADS, KV_HEADS, LAYERS, LEARNING_RATE, LINEARS, Options,
    RANK, ROPE_BASE, SCALE, V, check_losses, check_product, report, seed, token_ids, uniform,
};

fn main() {
    let options = Options::parse(&[]);
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let name = device.identity().map_or("unknown device".into(), |identity| identity.name);
    let (fusion, autotune) = (cfg!(feature = "fusion"), cfg!(feature = "autotune"));
    let note = format!("{name}, wgpu, f32, fusion {fusion}, autotune {autotune}");
    for &t in &options.tokens {
        if options.wants("gemm") {
            gemm(&options, t, &device, &note);
        }
        if options.wants("forward") {
            forward(&options, t, &device, &note);
        }
        if options.wants("lora_step") {
            lora_step(&options, t, &device.clone().autodiff(), &note);
        }
    }
}

fn line(what: &str, t: usize, ms: &[f64], note: &str, gemm: Option<(usize, usize)>) {
    report("burn-wgpu", "0.22.1", what, t, ms, note, gemm);
}

fn gemm(options: &Options, m: usize, device: &Device, note: &str) {
    for (k, n) in GEMMS {
        let (a, b) = (uniform(1, m * k, 1.0), uniform(2, k * n, 1.0));
        let (x, w) = (matrix(a.clone(), m, k, device), matrix(b.clone(), k, n, device));
        device.sync().unwrap();
        let (ms, _) = options.time(|| {
            let y = x.clone().matmul(w.clone());
            device.sync().unwrap();
            drop(y);
        });
        let y = x.matmul(w).into_data().try_into_vec::<f32>().unwrap();
        check_product(&a, &b, &y, [m, k, n]);
        line("gemm", m, &ms, note, Some((k, n)));
    }
}

fn forward(options: &Options, t: usize, device: &Device, note: &str) {
    let model = Frozen::new(t, device);
    let (ids, targets) = tokens(t, device);
    let (ms, losses) = options.time(|| model.loss(&ids, &targets, None).into_scalar::<f32>());
    check_losses("forward", &losses);
    line("forward", t, &ms, &format!("{note}; loss {:.3}", losses[0]), None);
}

fn lora_step(options: &Options, t: usize, device: &Device, note: &str) {
    let model = Frozen::new(t, device);
    let (ids, targets) = tokens(t, device);
    let mut adapters = Some(Adapters::new(device));
    let mut optimizer = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init();
    let (ms, losses) = options.time(|| {
        let current = adapters.take().expect("put back below");
        let loss = model.loss(&ids, &targets, Some(&current));
        let gradients = GradientsParams::from_grads(loss.backward(), &current);
        assert_eq!(gradients.len(), 2 * LAYERS * LINEARS.len(), "the adapters' gradients and no others");
        adapters = Some(optimizer.step(f64::from(LEARNING_RATE), current, gradients));
        let loss = loss.into_scalar::<f32>();
        device.sync().unwrap(); // the optimizer's work, too
        loss
    });
    check_losses("lora_step", &losses);
    line("lora_step", t, &ms, &format!("{note}; loss {:.3} -> {:.3}", losses[0], losses[losses.len() - 1]), None);
}

fn matrix(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

fn tokens(t: usize, device: &Device) -> (Tensor<1, Int>, Tensor<2, Int>) {
    let ids: Vec<i32> = token_ids(t).into_iter().map(|id| id as i32).collect();
    let read = Tensor::from_data(TensorData::new(ids[..t].to_vec(), [t]), device);
    let predicted = Tensor::from_data(TensorData::new(ids[1..].to_vec(), [t, 1]), device);
    (read, predicted)
}

/// The adapters of all linears of all layers, in the order of `LINEARS`.
#[derive(Module, Debug)]
struct Adapters {
    a: Vec<Param<Tensor<2>>>,
    b: Vec<Param<Tensor<2>>>,
}

impl Adapters {
    fn new(device: &Device) -> Self {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for i in 0..LAYERS * LINEARS.len() {
            let (_, inputs, outputs) = LINEARS[i % LINEARS.len()];
            let values = uniform(ADAPTER_SEED + seed(0, i), inputs * RANK, (inputs as f32).powf(-0.5));
            a.push(Param::from_tensor(matrix(values, inputs, RANK, device)));
            b.push(Param::from_tensor(Tensor::zeros([RANK, outputs], device)));
        }
        Self { a, b }
    }
}

/// All weights of the model, and the rotary table of T positions.
struct Frozen {
    embed: Tensor<2>,
    linears: Vec<Tensor<2>>,
    norms: Vec<Tensor<2>>,
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Frozen {
    fn new(t: usize, device: &Device) -> Self {
        let weight = |seed: u64, rows: usize, columns: usize| {
            matrix(uniform(seed, rows * columns, AMPLITUDE), rows, columns, device)
        };
        let angle = |i: usize| (i / HEAD) as f32 * ROPE_BASE.powf((i % (HEAD / 2)) as f32 * -2.0 / HEAD as f32);
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = (0..t * HEAD).map(|i| f(angle(i))).collect();
            Tensor::from_data(TensorData::new(values, [1, t, HEAD]), device)
        };
        Self {
            embed: weight(EMBED_SEED, V, C),
            linears: (0..LAYERS * LINEARS.len())
                .map(|i| weight(seed(0, i), LINEARS[i % LINEARS.len()].1, LINEARS[i % LINEARS.len()].2))
                .collect(),
            norms: (0..2 * LAYERS + 1).map(|_| Tensor::ones([1, C], device)).collect(),
            cos: table(f32::cos),
            sin: table(f32::sin),
        }
    }

    fn linear(&self, x: &Tensor<2>, layer: usize, index: usize, adapters: Option<&Adapters>) -> Tensor<2> {
        let i = layer * LINEARS.len() + index;
        let y = x.clone().matmul(self.linears[i].clone());
        match adapters {
            Some(Adapters { a, b }) => y + x.clone().matmul(a[i].val()).matmul(b[i].val()).mul_scalar(SCALE),
            None => y,
        }
    }

    fn norm(&self, x: &Tensor<2>, index: usize) -> Tensor<2> {
        let rms = (x.clone().square().mean_dim(1) + EPS).sqrt();
        x.clone() / rms * self.norms[index].clone()
    }

    /// T x (heads x D) to heads x T x D.
    fn split(x: Tensor<2>, heads: usize) -> Tensor<3> {
        let [t, _] = x.dims();
        x.reshape([t, heads, HEAD]).swap_dims(0, 1)
    }

    fn rotate(&self, x: Tensor<3>) -> Tensor<3> {
        let halves = x.clone().chunk(2, 2);
        let turned = Tensor::cat(vec![halves[1].clone().neg(), halves[0].clone()], 2);
        x * self.cos.clone() + turned * self.sin.clone()
    }

    /// Each key and value head serves three query heads.
    fn share(x: Tensor<3>) -> Tensor<4> {
        let [heads, t, d] = x.dims();
        let group = HEADS / heads;
        x.unsqueeze_dim::<4>(1).expand([heads, group, t, d]).reshape([1, heads * group, t, d])
    }

    /// The mean cross-entropy of T tokens.
    fn loss(&self, ids: &Tensor<1, Int>, targets: &Tensor<2, Int>, adapters: Option<&Adapters>) -> Tensor<1> {
        let [t] = ids.dims();
        let mut x = self.embed.clone().select(0, ids.clone());
        for layer in 0..LAYERS {
            let h = self.norm(&x, 2 * layer);
            let q = self.rotate(Self::split(self.linear(&h, layer, 0, adapters), HEADS));
            let k = self.rotate(Self::split(self.linear(&h, layer, 1, adapters), KV_HEADS));
            let v = Self::split(self.linear(&h, layer, 2, adapters), KV_HEADS);
            let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
            let h = attention(q.unsqueeze_dim(0), Self::share(k), Self::share(v), None, None, causal);
            let h = h.swap_dims(1, 2).reshape([t, HEADS * HEAD]);
            x = x + self.linear(&h, layer, 3, adapters);
            let h = self.norm(&x, 2 * layer + 1);
            let h = silu(self.linear(&h, layer, 4, adapters)) * self.linear(&h, layer, 5, adapters);
            x = x + self.linear(&h, layer, 6, adapters);
        }
        let logits = self.norm(&x, 2 * LAYERS).matmul(self.embed.clone().transpose());
        log_softmax(logits, 1).gather(1, targets.clone()).mean().neg()
    }
}
