//! The tape's rules and the plan's: who needs a gradient, which buffers share memory, which limits hold.

use tunesmith::gpu::{DeviceInfo, Plan, Recorder, kernels};
use tunesmith::ops::{Gate, Parameter, Weight};
use tunesmith::tape::{Tape, Var};
use tunesmith_tests::check_op::{Guarded, TOLERANCE, context, contexts, nmse};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::{Matrix, swiglu, swiglu_backward};

/// A chain of gates and linear layers of changing width, each step with a residual; returns its end.
const WIDTHS: [usize; 7] = [96, 33, 128, 7, 64, 200, 96];
const ROWS: usize = 19;

struct Chain {
    /// The trained weights, `[2 WIDTHS[i + 1], WIDTHS[i]]`.
    weights: Vec<Matrix>,
    x: Matrix,
    dy: Matrix,
}

impl Chain {
    fn new() -> Self {
        let matrix = |name: &str, rows: usize, cols: usize, size: f64| {
            Matrix::from_f32(rows, cols, &uniform(&format!("chain {name}"), rows * cols, size as f32))
        };
        let weight = |i: usize| matrix(&format!("w{i}"), 2 * WIDTHS[i + 1], WIDTHS[i], (3.0 / WIDTHS[i] as f64).sqrt());
        Self {
            weights: (0..WIDTHS.len() - 1).map(weight).collect(),
            x: matrix("x", ROWS, WIDTHS[0], 1.5),
            dy: matrix("dy", ROWS, *WIDTHS.last().unwrap(), 1.0),
        }
    }

    /// y_{i+1} = 2 swiglu(y_i w_i^T), and the gradients to x and the weights.
    fn reference(&self) -> (Matrix, Vec<Matrix>) {
        let mut y = self.x.clone();
        let mut kept = Vec::new();
        for w in &self.weights {
            let h = y.times_transposed(w);
            kept.push((y, h.clone()));
            let half = h.cols / 2;
            y = swiglu(&h.columns(0..half), &h.columns(half..2 * half)).scaled(2.0);
        }
        let mut dy = self.dy.clone();
        let mut gradients = Vec::new();
        for (w, (before, h)) in self.weights.iter().zip(&kept).rev() {
            let half = h.cols / 2;
            let (gate, up) = (h.columns(0..half), h.columns(half..2 * half));
            let [dgate, dup] = swiglu_backward(&gate, &up, &dy.scaled(2.0));
            let dh = dgate.beside(&dup);
            gradients.push(dh.transposed_times(before));
            dy = dh.times(w);
        }
        gradients.push(dy);
        gradients.reverse();
        (y, gradients)
    }
}

#[test]
fn buffers_share_memory_and_stay_right() {
    let context = context();
    let chain = Chain::new();
    let (want, want_gradients) = chain.reference();
    let leaf = |t: &mut Tape, m: &Matrix, grad: Option<&Guarded>| -> Var {
        let value = Guarded::new(&context, &m.to_f32()).buffer;
        t.leaf(m.rows, m.cols, &value, grad.map(|grad| &grad.buffer))
    };
    let (mut t, mut grads) = (Tape::new(&context), vec![Guarded::new(&context, &vec![0f32; chain.x.data.len()])]);
    let mut y = leaf(&mut t, &chain.x, Some(&grads[0]));
    // Bytes of every value and gradient, had each its own place.
    let mut apart = 0;
    for w in &chain.weights {
        let values = Guarded::at(&context, 64, &w.to_f32());
        let gradients = Guarded::at(&context, 64, &vec![0f32; w.data.len()]);
        let parameter = Parameter { values: values.buffer, grads: gradients.buffer.clone(), offset: 64 };
        grads.push(gradients);
        let h = t.linear(y, &Weight::trained("w", w.rows, w.cols, parameter));
        let gated = t.gated(Gate::Silu, h);
        y = t.add(gated, gated);
        apart += 2 * 2 * ROWS as u64 * w.rows as u64 * 4;
    }
    let out = Guarded::new(&context, &vec![0f32; want.data.len()]);
    t.keep(y, &out.buffer);
    let seed = Guarded::new(&context, &chain.dy.to_f32());
    t.seed_grad(y, &seed.buffer);
    t.backward();
    let plan = t.finish(&context).unwrap();
    let stats = plan.run(0);
    assert!(stats.arena_bytes * 3 < apart * 2, "an arena of {} bytes for {apart}", stats.arena_bytes);
    let compare = |what: &str, got: &Guarded, want: &Matrix| {
        let error = nmse(&Matrix::from_f32(want.rows, want.cols, &got.read(&context)), want, want);
        assert!(error <= TOLERANCE, "{what}: an error of {error:.1e}");
    };
    compare("the end", &out, &want);
    for (i, (got, want)) in grads.iter().zip(&want_gradients).enumerate() {
        compare(&format!("gradient {i}"), got, want);
    }

    // Forward alone needs few buffers at a time, however long the chain.
    let arena = |length: usize| {
        let mut t = Tape::new(&context);
        let mut y = leaf(&mut t, &chain.x, None);
        for _ in 0..length {
            y = t.add(y, y);
        }
        let out = Guarded::new(&context, &vec![0f32; chain.x.data.len()]);
        let last = t.leaf(ROWS, WIDTHS[0], &out.buffer, None);
        t.copy(y, last);
        let stats = t.finish(&context).unwrap().run(0);
        let factor = (length as f64).exp2();
        assert_eq!(out.read(&context), chain.x.scaled(factor).to_f32(), "{length} doublings");
        assert_eq!(stats.dispatches, length + 1);
        assert!((1..=5).contains(&stats.submits), "{} submits for {length} small dispatches", stats.submits);
        stats.arena_bytes
    };
    assert_eq!(arena(3), arena(200 - 100));
    assert_eq!(arena(3), 2 * (ROWS * WIDTHS[0] * 4) as u64);
    context.check().unwrap();
}

#[test]
fn only_what_is_trained_has_a_backward() {
    let context = context();
    let values = Guarded::new(&context, &[1f32; 128]).buffer;
    let grads = Guarded::new(&context, &[0f32; 64]);
    let dispatches = |trained: bool| {
        let mut t = Tape::new(&context);
        let x = t.leaf(8, 8, &values, trained.then_some(&grads.buffer));
        // Nothing trained lies below this one in either case.
        let other = t.leaf(8, 16, &values, None);
        let below = t.gated(Gate::Silu, other);
        let y = t.add(x, below);
        // A result that nobody reads would not be computed at all.
        t.keep(y, &Guarded::new(&context, &[0f32; 64]).buffer);
        let seed = Guarded::new(&context, &[1f32; 64]).buffer;
        t.seed_grad(y, &seed);
        assert_eq!((t.needs_grad(y), t.needs_grad(below)), (trained, false));
        t.backward();
        t.finish(&context).unwrap().run(0).dispatches
    };
    assert_eq!(dispatches(false), 2);
    assert_eq!(dispatches(true), 3);
    assert_eq!(grads.read(&context), [1.0; 64]);
    context.check().unwrap();
}

#[test]
fn what_nobody_reads_is_not_computed() {
    let context = context();
    let values = Guarded::new(&context, &uniform("unread", 64, 1.0)).buffer;
    let out = Guarded::new(&context, &[0f32; 64]);
    let mut t = Tape::new(&context);
    let x = t.leaf(8, 8, &values, None);
    let twice = t.add(x, x);
    // Two ops whose results lead nowhere.
    let unread = t.add(twice, x);
    t.add(unread, unread);
    t.keep(twice, &out.buffer);
    assert_eq!(t.finish(&context).unwrap().run(0).dispatches, 1);
    let want: Vec<f32> = uniform("unread", 64, 1.0).iter().map(|x| 2.0 * x).collect();
    assert_eq!(out.read(&context), want);
}

#[test]
fn the_limits_are_webgpus_defaults() {
    for context in contexts() {
        check_limits(context.info());
        // The only one that is asked for on these, and kernels are chosen by.
        let features: &[&str] = if context.subgroup() == 0 { &[] } else { &["subgroup"] };
        assert_eq!(context.info().features, features);
    }
    for (index, kernel) in kernels::ALL.iter().enumerate() {
        assert_eq!(kernel.index, index, "{}", kernel.name);
        assert!(kernel.bindings.len() <= 8 && kernel.workgroup.iter().product::<u32>() <= 256, "{}", kernel.name);
        let asks = ["subgroupBroadcast(", "quadSwap"].iter().any(|call| kernel.wgsl().contains(call));
        assert_eq!(kernel.subgroup > 0, asks, "{}", kernel.name);
    }
}

fn check_limits(info: &DeviceInfo) {
    for (name, limit) in [
        ("maxStorageBufferBindingSize", 128 << 20),
        ("maxBufferSize", 256 << 20),
        ("maxStorageBuffersPerShaderStage", 8),
        ("maxComputeWorkgroupStorageSize", 16384),
        ("maxComputeInvocationsPerWorkgroup", 256),
        ("maxComputeWorkgroupsPerDimension", 65535),
    ] {
        assert_eq!(info.limits[name], limit, "{name}");
    }
}

#[test]
fn a_buffer_past_one_binding_is_an_error() {
    let context = context();
    assert_eq!(context.buffer("just right", 128 << 20).unwrap().size(), 128 << 20);
    let error = context.buffer("all the logits", (128 << 20) + 4).unwrap_err();
    assert_eq!(error.code(), "limit");
    let said = error.to_string();
    assert!(said.contains("all the logits") && said.contains("134217732") && said.contains("134217728"), "{said}");
    // A plan's own buffers have the same limit.
    let leaf = context.buffer("leaf", 16).unwrap();
    let mut t = Tape::new(&context);
    let x = t.var(1 << 10, (1 << 15) + 1, false);
    let y = t.leaf(1, 1, &leaf, None);
    t.copy(x, y);
    assert_eq!(t.finish(&context).err().expect("a buffer past the limit").code(), "limit");
    context.check().unwrap();
}

#[test]
fn a_fault_on_the_device_is_an_error() {
    let context = context();
    let buffer = context.buffer("small", 256).unwrap();
    let out = context.buffer("out", 256).unwrap();
    let mut list = Recorder::new(&context);
    // A piece that reaches past its buffer.
    let (from, to) = (list.fixed(&buffer).slice(0, 1 << 20), list.fixed(&out));
    let params = kernels::add_backward::Params { count: 64, accumulate: 0 };
    list.dispatch(&kernels::ADD_BACKWARD, &[from, to.into()], &params, [1, 1, 1]);
    assert_eq!(Plan::new(&context, list).err().expect("an invalid binding").code(), "gpu");
    // It is not forgotten.
    assert_eq!(context.check().unwrap_err().code(), "gpu");
    assert_eq!(pollster::block_on(context.wait()).unwrap_err().code(), "gpu");
}
