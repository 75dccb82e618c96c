//! The optimizer step against the f64 reference.

use tunesmith::gpu::{Context, Plan, Recorder};
use tunesmith::ops::{DECAY_BLOCK, Hyper, PIECE, record_step};
use tunesmith_tests::check_op::{Guarded, TOLERANCE, context, nmse};
use tunesmith_tests::golden::hash::uniform;
use tunesmith_tests::reference::{AdamW, Matrix};

/// Flat parameters of these tensors, each from a multiple of 64 on, with everything the step needs. Every second of them
/// does not decay.
struct Setup {
    context: Context,
    values: Guarded,
    grads: Guarded,
    m: Guarded,
    v: Guarded,
    hyper: Guarded,
    state: Guarded,
    sums: Guarded,
    plan: Plan,
    count: usize,
    /// The places that belong to a tensor.
    used: Vec<bool>,
    /// The places that decay.
    decayed: Vec<bool>,
}

impl Setup {
    fn new(tensors: &[usize]) -> Self {
        let context = context();
        let (mut pieces, mut used, mut decayed) = (Vec::new(), Vec::new(), Vec::new());
        for (index, &len) in tensors.iter().enumerate() {
            let offset = used.len();
            pieces.extend((0..len).step_by(PIECE).map(|at| [(offset + at) as u32, (len - at).min(PIECE) as u32]));
            used.resize(offset + len, true);
            used.resize(used.len().next_multiple_of(DECAY_BLOCK), false);
            decayed.resize(used.len(), index % 2 == 0);
        }
        let count = used.len();
        let mut decays = vec![0_u32; count.div_ceil(32 * DECAY_BLOCK)];
        for block in (0..count / DECAY_BLOCK).filter(|block| decayed[block * DECAY_BLOCK]) {
            decays[block / 32] |= 1 << (block % 32);
        }
        let zeros = vec![0f32; count];
        let values: Vec<f32> = uniform("optimizer values", count, 1.0)
            .iter()
            .zip(&used)
            .map(|(v, &used)| if used { *v } else { 0.0 })
            .collect();
        let buffer = |data: &[f32]| Guarded::new(&context, data);
        let (values, grads, m, v) = (buffer(&values), buffer(&zeros), buffer(&zeros), buffer(&zeros));
        let (hyper, state, sums) = (buffer(&[0.0; 8]), buffer(&[0.0; 2]), buffer(&vec![0.0; pieces.len()]));
        let (decays, table) = (Guarded::new(&context, &decays), Guarded::new(&context, &pieces));
        let mut list = Recorder::new(&context);
        let buffers = Hyper {
            values: std::slice::from_ref(&values.buffer),
            grads: std::slice::from_ref(&grads.buffer),
            m: std::slice::from_ref(&m.buffer),
            v: std::slice::from_ref(&v.buffer),
            decays: std::slice::from_ref(&decays.buffer),
            pieces: &table.buffer,
            sums: &sums.buffer,
            hyper: &hyper.buffer,
            state: &state.buffer,
        };
        record_step(&mut list, &buffers, &[(count, pieces.len())]);
        let plan = Plan::new(&context, list).unwrap();
        Self { values, grads, m, v, hyper, state, sums, plan, count, used, decayed, context }
    }

    /// The reference, with the same parameters that decay.
    fn reference(&self, weight_decay: f64, max_grad_norm: f64) -> AdamW {
        AdamW { decayed: self.decayed.clone(), ..AdamW::new(self.count, weight_decay, max_grad_norm) }
    }

    /// One step with these gradients; returns norm and factor.
    fn step(&self, gradients: &[f32], reference: &AdamW, steps: i32, learning_rate: f64) -> [f32; 2] {
        let [beta1, beta2] = reference.betas;
        let hyper = [
            reference.max_grad_norm,
            learning_rate,
            1.0 - beta1,
            1.0 - beta2,
            reference.eps,
            reference.weight_decay,
            1.0 - beta1.powi(steps),
            (1.0 - beta2.powi(steps)).sqrt(),
        ];
        self.hyper.write(&self.context, &hyper.map(|value| value as f32));
        self.grads.write(&self.context, gradients);
        self.plan.run(0);
        let state = self.state.read(&self.context);
        [state[0], state[1]]
    }

    fn gradients(&self, step: usize) -> Vec<f32> {
        let values = uniform(&format!("optimizer gradients {step}"), self.count, 0.3);
        values.iter().zip(&self.used).map(|(v, &used)| if used { *v } else { 0.0 }).collect()
    }

    fn compare(&self, what: &str, got: &Guarded, want: &[f64]) -> f64 {
        let want = Matrix { rows: 1, cols: self.count, data: want.to_vec() };
        let error = nmse(&Matrix::from_f32(1, self.count, &got.read(&self.context)), &want, &want);
        assert!(error <= TOLERANCE, "{what}: an error of {error:.1e}");
        error
    }
}

#[test]
fn steps_are_those_of_pytorch() {
    let mut worst = 0f64;
    // One, few and many pieces; clipped, hardly clipped, not clipped; with and without decay.
    for (tensors, clip, decay) in [
        (vec![1], 1.0, 0.0),
        (vec![64, 5, 63, 65], 0.0, 0.1),
        (vec![PIECE, 7], 1.0, 0.01),
        (vec![2 * PIECE + 1, 48, PIECE - 1], 1e4, 0.0),
        (vec![97; 130], 0.5, 0.3),
    ] {
        let setup = Setup::new(&tensors);
        let name = format!("{} tensors of {} places", tensors.len(), setup.count);
        let mut reference = setup.reference(decay, clip);
        let start = setup.values.read(&setup.context);
        let mut values: Vec<f64> = start.iter().map(|&v| f64::from(v)).collect();
        for step in 1..=4 {
            let gradients = setup.gradients(step);
            let rate = 1e-2 / step as f64;
            let [norm, factor] = setup.step(&gradients, &reference, step as i32, rate);
            let gradients: Vec<f64> = gradients.iter().map(|&g| f64::from(g)).collect();
            let want = reference.step(&mut values, &gradients, rate);
            assert!((f64::from(norm) / want - 1.0).abs() < 1e-6, "{name}: a norm of {norm}, not {want}");
            assert_eq!(factor < 1.0, clip > 0.0 && want > clip, "{name}: a factor of {factor}");
        }
        worst = worst.max(setup.compare(&format!("{name}: m"), &setup.m, &reference.m));
        worst = worst.max(setup.compare(&format!("{name}: v"), &setup.v, &reference.v));
        setup.compare(&format!("{name}: values"), &setup.values, &values);
        // The way gone is far shorter than the values: it is compared for itself.
        let moved =
            |now: &[f64]| -> Vec<f64> { now.iter().zip(&start).map(|(now, &was)| now - f64::from(was)).collect() };
        let got: Vec<f64> = setup.values.read(&setup.context).iter().map(|&v| f64::from(v)).collect();
        let row = |data| Matrix { rows: 1, cols: setup.count, data };
        let (got, want) = (row(moved(&got)), row(moved(&values)));
        let error = nmse(&got, &want, &want);
        assert!(error <= TOLERANCE, "{name}: moved: an error of {error:.1e}");
        worst = worst.max(error);
        setup.context.check().unwrap();
    }
    eprintln!("optimizer: worst NMSE {worst:.1e}");
}

#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let tensors = [100, 2 * PIECE, 33];
    let setup = Setup::new(&tensors);
    let reference = setup.reference(0.1, 1.0);
    setup.step(&setup.gradients(0), &reference, 1, 1e-2);
    let bits = || -> Vec<u32> {
        let buffers = [&setup.values, &setup.m, &setup.v];
        buffers.iter().flat_map(|buffer| buffer.read(&setup.context)).map(f32::to_bits).collect()
    };
    let before = bits();
    // In the first, a middle and the last piece; 1e30 is finite, but not its square.
    for (at, piece, bad) in [
        (0, 0, f32::NAN),
        (127 + PIECE, 1, f32::INFINITY),
        (128 + PIECE, 2, f32::NAN),
        (128 + 2 * PIECE + 32, 3, f32::NEG_INFINITY),
        (5, 0, 1e30),
    ] {
        let mut gradients = setup.gradients(1);
        gradients[at] = bad;
        let [_, factor] = setup.step(&gradients, &reference, 2, 1e-2);
        assert_eq!(factor, 0.0, "{bad} at {at}");
        assert!(bits() == before, "{bad} at {at}: something moved");
        // The sums say which piece it was.
        let sums = setup.sums.read(&setup.context);
        assert_eq!(sums.iter().position(|sum| !sum.is_finite()), Some(piece), "{bad} at {at}: {sums:?}");
    }
    // The next good step goes on.
    let [_, factor] = setup.step(&setup.gradients(1), &reference, 2, 1e-2);
    assert!(factor > 0.0 && bits() != before);
    setup.context.check().unwrap();
}

#[test]
fn no_gradient_moves_nothing_but_decays() {
    let setup = Setup::new(&[65, 40, 3]);
    let reference = setup.reference(0.5, 1.0);
    let before = setup.values.read(&setup.context);
    let [norm, factor] = setup.step(&vec![0.0; setup.count], &reference, 1, 0.25);
    assert_eq!((norm, factor), (0.0, 1.0));
    let after = setup.values.read(&setup.context);
    for (place, (&before, after)) in before.iter().zip(after).enumerate() {
        // The one is exact in f32, and the other is the same number.
        let want = if setup.decayed[place] { before * (1.0 - 0.125) } else { before };
        assert_eq!(after, want, "at {place}");
    }
    setup.context.check().unwrap();
}
