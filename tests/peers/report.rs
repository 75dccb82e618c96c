//! What the Rust peers share: the arguments, the shape, the timing, one JSON line a measurement.

use std::time::Instant;

/// SmolLM2-135M with a tied head.
pub const LAYERS: usize = 30;
pub const C: usize = 576;
pub const HEADS: usize = 9;
pub const KV_HEADS: usize = 3;
pub const HEAD: usize = 64;
pub const F: usize = 1536;
pub const V: usize = 49152;
pub const EPS: f32 = 1e-5;
pub const ROPE_BASE: f32 = 1e5;
/// LoRA of rank 16 and alpha 32.
pub const RANK: usize = 16;
pub const SCALE: f32 = 2.0;
pub const LEARNING_RATE: f32 = 1e-3;

/// The linears of a layer: name, inputs, outputs.
pub const LINEARS: [(&str, usize, usize); 7] = [
    ("q", C, HEADS * HEAD),
    ("k", C, KV_HEADS * HEAD),
    ("v", C, KV_HEADS * HEAD),
    ("o", HEADS * HEAD, C),
    ("gate", C, F),
    ("up", C, F),
    ("down", F, C),
];

/// The products to time, inputs by outputs; 960 is q, k and v in one.
pub const GEMMS: [(usize, usize); 4] = [(C, F), (F, C), (C, C), (C, 960)];

/// The command line: `--tokens 64,128 --steps 6 --warmup 3 --what gemm,forward,lora_step`, and bare flags.
pub struct Options {
    pub tokens: Vec<usize>,
    pub steps: usize,
    pub warmup: usize,
    pub what: Vec<String>,
    flags: Vec<String>,
}

impl Options {
    pub fn parse(flags: &[&str]) -> Self {
        let mut options = Self {
            tokens: vec![128],
            steps: 6,
            warmup: 3,
            what: ["gemm", "forward", "lora_step"].map(String::from).to_vec(),
            flags: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
            match arg.as_str() {
                "--tokens" => options.tokens = value().split(',').map(number).collect(),
                "--steps" => options.steps = number(&value()),
                "--warmup" => options.warmup = number(&value()),
                "--what" => options.what = value().split(',').map(String::from).collect(),
                flag if flags.contains(&flag) => options.flags.push(arg),
                _ => panic!(
                    "usage: [--tokens 64,128] [--steps N] [--warmup N] [--what gemm,forward,lora_step] {flags:?}"
                ),
            }
        }
        options
    }

    #[allow(dead_code)] // not every peer has flags
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    pub fn wants(&self, what: &str) -> bool {
        self.what.iter().any(|w| w == what)
    }

    /// Runs `work` until it has settled (at least `warmup` times, at most 12, and until a run is not much faster than
    /// the fastest before it), then `steps` more times. The times of those in ms, and what every run returned.
    pub fn time<T>(&self, mut work: impl FnMut() -> T) -> (Vec<f64>, Vec<T>) {
        let (mut ms, mut results, mut best, mut warm) = (Vec::new(), Vec::new(), f64::INFINITY, false);
        while ms.len() < self.steps {
            let start = Instant::now();
            results.push(work());
            let took = start.elapsed().as_secs_f64() * 1e3;
            eprintln!("{} {took:.1} ms", if warm { "run" } else { "warm-up" });
            if warm {
                ms.push((took * 1e3).round() / 1e3);
            } else {
                warm = results.len() >= self.warmup && took > 0.9 * best || results.len() == 12;
                best = best.min(took);
            }
        }
        (ms, results)
    }
}

/// Random weights know nothing: ln V at first; then the same tokens again and again must be learnt.
pub fn check_losses(what: &str, losses: &[f32]) {
    eprintln!("losses of {what}: {losses:?}");
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!((first - (V as f32).ln()).abs() < 0.5, "{what}: the loss starts at {first}, not near ln V");
    assert!(what != "lora_step" || last < first, "the loss does not fall: {losses:?}");
}

/// Compares some elements of `c` = `a` (m x k) times `b` (k x n) with plain sums in f64.
pub fn check_product(a: &[f32], b: &[f32], c: &[f32], [m, k, n]: [usize; 3]) {
    for (i, j) in [(0, 0), (0, n - 1), (m / 2, n / 3), (m - 1, n - 1)] {
        let sum: f64 = (0..k).map(|l| a[i * k + l] as f64 * b[l * n + j] as f64).sum();
        let off = (c[i * n + j] as f64 - sum).abs();
        assert!(off < 1e-3, "element ({i}, {j}) of {m}x{k}x{n} is {}, not {sum}", c[i * n + j]);
    }
}

/// Uniform values in [-amplitude, amplitude), the same for the same seed.
pub fn uniform(seed: u64, len: usize, amplitude: f32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e3779b97f4a7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    // The first values after a small seed are near one another.
    for _ in 0..8 {
        next();
    }
    (0..len).map(|_| next() * amplitude).collect()
}

/// The seed of a layer's linear, the same in every peer: they must then agree in the first losses.
pub fn seed(layer: usize, linear: usize) -> u64 {
    (2 + layer * LINEARS.len() + linear) as u64
}

/// The seed of the embedding.
pub const EMBED_SEED: u64 = 1;
/// What is added to a linear's seed for its adapter.
pub const ADAPTER_SEED: u64 = 1000;
/// The largest starting weight: uniform, with a standard deviation of 0.02.
pub const AMPLITUDE: f32 = 0.0346;

/// T + 1 token ids: T to read, and T to predict.
pub fn token_ids(t: usize) -> Vec<u32> {
    uniform(t as u64, t + 1, 1.0).into_iter().map(|x| ((x + 1.0) / 2.0 * V as f32) as u32 % V as u32).collect()
}

/// Prints one measurement as a line of JSON.
pub fn report(peer: &str, version: &str, what: &str, t: usize, ms: &[f64], note: &str, gemm: Option<(usize, usize)>) {
    let mut sorted = ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    let mut line = serde_json::json!({
        "peer": peer, "version": version, "what": what, "model": "smollm2-135m", "t": t, "ms": ms, "median_ms": median,
        "peak_bytes": peak_bytes(), "load": load(), "note": note,
    });
    if let Some((k, n)) = gemm {
        line["k"] = k.into();
        line["n"] = n.into();
        line["gflops"] = (((2 * t * k * n) as f64 / median / 1e4).round() / 1e2).into();
    }
    println!("{line}");
}

/// The most memory this process has held (VmHWM), over everything it has run so far.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let row = status.lines().find(|row| row.starts_with("VmHWM"))?;
    Some(row.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// The load average over one minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
