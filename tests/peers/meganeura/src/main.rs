//! meganeura: products, the forward pass and one LoRA training step on the SmolLM2-135M shape, random weights.
//!
//!     cargo run --release -- [--tokens 64,128] [--steps 6] [--what gemm,forward,lora_step] [--tune]
//!
//! The graph is that of `meganeura::models::smollm2`, with adapters. Frozen weights stand behind `stop_gradient`, the
//! crate's own way to say so: their gradients are never computed. LoRA's scale is in the starting values of A instead
//! of in a product of its own, which spares 420 dispatches. `--tune` turns the crate's opt-in search of tiles on.

#[path = "../../report.rs"]
mod report;

use meganeura::{Graph, Mode, NodeId, Session, SessionConfig};
use report::{
    ADAPTER_SEED, AMPLITUDE, C, EMBED_SEED, EPS, GEMMS, HEAD, HEADS, KV_HEADS, LAYERS, LEARNING_RATE, LINEARS, Options,
    RANK, ROPE_BASE, SCALE, V, check_losses, check_product, report, seed, token_ids, uniform,
};

fn main() {
    let options = Options::parse(&["--tune"]);
    for &t in &options.tokens {
        if options.wants("gemm") {
            gemm(&options, t);
        }
        for what in ["forward", "lora_step"] {
            if options.wants(what) {
                model(&options, what, t);
            }
        }
    }
}

fn session(options: &Options, graph: &Graph, mode: Mode) -> Session {
    meganeura::build(graph, SessionConfig { mode, tune: options.has("--tune"), ..SessionConfig::default() }).0
}

fn line(
    options: &Options,
    what: &str,
    t: usize,
    ms: &[f64],
    session: &Session,
    more: &str,
    gemm: Option<(usize, usize)>,
) {
    let note = format!(
        "{}, {}, f32{}; {} dispatches in {} groups{more}",
        session.device_information().device_name,
        session.device_information().driver_info,
        if options.has("--tune") { ", tuned" } else { "" },
        session.plan().dispatches.len(),
        session.num_groups(),
    );
    report("meganeura", "0.3.0", what, t, ms, &note, gemm);
}

fn gemm(options: &Options, m: usize) {
    for (k, n) in GEMMS {
        let mut g = Graph::new();
        let a = g.input("a", &[m, k]);
        let b = g.parameter("b", &[k, n]);
        let c = g.matmul(a, b);
        g.set_outputs(vec![c]);
        let mut session = session(options, &g, Mode::Inference);
        let (a, b) = (uniform(1, m * k, 1.0), uniform(2, k * n, 1.0));
        session.set_input("a", &a);
        session.set_parameter("b", &b);
        let (ms, _) = options.time(|| {
            session.step();
            session.wait();
        });
        check_product(&a, &b, &session.read_output(m * n), [m, k, n]);
        line(options, "gemm", m, &ms, &session, "", Some((k, n)));
    }
}

fn model(options: &Options, what: &str, t: usize) {
    let train = what == "lora_step";
    let graph = graph(t, train);
    let mut session = session(options, &graph, if train { Mode::Training } else { Mode::Inference });
    let ids = token_ids(t);
    let mut labels = vec![0.0; t * V];
    for i in 0..t {
        labels[i * V + ids[i + 1] as usize] = 1.0;
    }
    session.set_input_u32("ids", &ids[..t]);
    session.set_input("labels", &labels);
    for (name, values) in parameters(train) {
        session.set_parameter(&name, &values);
    }
    if train {
        session.set_adam(LEARNING_RATE, 0.9, 0.999, 1e-8);
        session.set_weight_decay(0.01);
    }
    let (ms, losses) = options.time(|| {
        session.step();
        session.wait();
        session.read_loss()
    });
    check_losses(what, &losses);
    let more = format!(", AdamW apart; loss {:.3} -> {:.3}", losses[0], losses[losses.len() - 1]);
    line(options, what, t, &ms, &session, &more, None);
}

/// All parameters by name, and their starting values.
fn parameters(train: bool) -> Vec<(String, Vec<f32>)> {
    let mut all = vec![("embed".into(), uniform(EMBED_SEED, V * C, AMPLITUDE)), ("norm".into(), vec![1.0; C])];
    for layer in 0..LAYERS {
        all.push((format!("{layer}.attention.norm"), vec![1.0; C]));
        all.push((format!("{layer}.mlp.norm"), vec![1.0; C]));
        for (i, (name, inputs, outputs)) in LINEARS.into_iter().enumerate() {
            all.push((format!("{layer}.{name}"), uniform(seed(layer, i), inputs * outputs, AMPLITUDE)));
            if train {
                let amplitude = SCALE * (inputs as f32).powf(-0.5);
                let a = uniform(ADAPTER_SEED + seed(layer, i), inputs * RANK, amplitude);
                all.push((format!("{layer}.{name}.A"), a));
                all.push((format!("{layer}.{name}.B"), vec![0.0; RANK * outputs]));
            }
        }
    }
    all
}

/// The mean cross-entropy of T tokens, with adapters for training.
fn graph(t: usize, train: bool) -> Graph {
    let mut g = Graph::new();
    let frozen = |g: &mut Graph, name: &str, shape: &[usize]| {
        let weight = g.parameter(name, shape);
        if train { g.stop_gradient(weight) } else { weight }
    };
    let linear = |g: &mut Graph, x: NodeId, layer: usize, index: usize| {
        let (name, inputs, outputs) = LINEARS[index];
        let w = frozen(g, &format!("{layer}.{name}"), &[inputs, outputs]);
        let y = g.matmul(x, w);
        if !train {
            return y;
        }
        let a = g.parameter(&format!("{layer}.{name}.A"), &[inputs, RANK]);
        let b = g.parameter(&format!("{layer}.{name}.B"), &[RANK, outputs]);
        let low = g.matmul(x, a);
        let low = g.matmul(low, b);
        g.add(y, low)
    };
    let ids = g.input_u32("ids", &[t]);
    let embed = frozen(&mut g, "embed", &[V, C]);
    let mut x = g.embedding(ids, embed);
    for layer in 0..LAYERS {
        let norm = frozen(&mut g, &format!("{layer}.attention.norm"), &[C]);
        let h = g.rms_norm(x, norm, EPS);
        let (q, k, v) = (linear(&mut g, h, layer, 0), linear(&mut g, h, layer, 1), linear(&mut g, h, layer, 2));
        let (q, k) = (g.rope(q, ROPE_BASE, HEAD as u32), g.rope(k, ROPE_BASE, HEAD as u32));
        let h = g.causal_attention(q, k, v, HEADS as u32, KV_HEADS as u32, HEAD as u32);
        let h = linear(&mut g, h, layer, 3);
        x = g.add(x, h);
        let norm = frozen(&mut g, &format!("{layer}.mlp.norm"), &[C]);
        let h = g.rms_norm(x, norm, EPS);
        let (gate, up) = (linear(&mut g, h, layer, 4), linear(&mut g, h, layer, 5));
        let h = g.swiglu(gate, up);
        let h = linear(&mut g, h, layer, 6);
        x = g.add(x, h);
    }
    let norm = frozen(&mut g, "norm", &[C]);
    let x = g.rms_norm(x, norm, EPS);
    let logits = g.matmul_bt(x, embed);
    let labels = g.input("labels", &[t, V]);
    let loss = g.cross_entropy_loss(logits, labels);
    g.set_outputs(vec![loss]);
    g
}
