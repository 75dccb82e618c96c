//! The language-model head and its cross-entropy against the f64 reference.

use tunesmith::format::ggml::GgmlType;
use tunesmith::format::quant::{dequantize, pack, quantize_q4_1};
use tunesmith::gpu::Context;
use tunesmith::ops::{Capping, Parameter, Piece, Targets, Weight};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::{Guarded, TOLERANCE, context, contexts, nmse};
use tunesmith_tests::golden::hash::{hashed_ids, uniform};
use tunesmith_tests::reference::{Matrix, check_gradient, cross_entropy};

/// (row, label, weight), as [`Targets::write`] takes them.
type Target = (u32, u32, f32);

/// A head, on the device and in f64.
struct Head {
    weight: Weight,
    matrix: Matrix,
    capping: Option<Capping>,
}

impl Head {
    fn new(context: &Context, vocab: usize, channels: usize, ty: GgmlType, blocks: &[u8]) -> Self {
        let mut values = vec![0.0; vocab * channels];
        dequantize(ty, blocks, &mut values).unwrap();
        let packed = pack(ty, blocks).unwrap();
        let codes = Guarded::new(context, &packed.codes).buffer;
        let scales = (!packed.scales.is_empty()).then(|| Guarded::new(context, &packed.scales).buffer);
        let weight = Weight::frozen("head", vocab, channels, packed.encoding, codes, scales);
        Self { weight, matrix: Matrix::from_f32(vocab, channels, &values), capping: None }
    }

    /// The same in pieces of so many rows.
    fn in_pieces(self, context: &Context, ty: GgmlType, blocks: &[u8], rows: usize) -> Self {
        let Matrix { rows: vocab, cols, .. } = self.matrix;
        let pieces = blocks.chunks(blocks.len() / vocab * rows).map(|blocks| {
            let packed = pack(ty, blocks).unwrap();
            let codes = Guarded::new(context, &packed.codes).buffer;
            let scales = (!packed.scales.is_empty()).then(|| Guarded::new(context, &packed.scales).buffer);
            Piece { rows: blocks.len() / (ty.byte_len(cols as u64).unwrap() as usize), codes, scales }
        });
        let weight = Weight::in_pieces("head", cols, self.weight.encoding(), pieces.collect());
        assert_eq!([weight.rows, weight.pieces().len()], [vocab, vocab.div_ceil(rows)]);
        Self { weight, ..self }
    }

    fn plain(context: &Context, vocab: usize, channels: usize, values: &[f32]) -> Self {
        let blocks: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(context, vocab, channels, GgmlType::F32, &blocks)
    }

    /// A logit under the cap, and its slope in what it was.
    fn capped(&self, logit: f64) -> (f64, f64) {
        self.capping.map_or((logit, 1.0), |Capping { cap, temperature }| {
            let (cap, temperature) = (f64::from(cap), f64::from(temperature));
            let share = (logit / cap).tanh();
            (cap * share / temperature, (1.0 - share * share) / temperature)
        })
    }

    /// Each target's loss, their weighted sum, and its gradient to `x`.
    fn reference(&self, x: &Matrix, targets: &[Target]) -> (Vec<f64>, f64, Matrix) {
        let logits = x.times_transposed(&self.matrix);
        let mut dlogits = Matrix::zeros(logits.rows, logits.cols);
        let mut nll = Vec::new();
        for &(row, label, weight) in targets {
            let capped: Vec<(f64, f64)> = logits.row(row as usize).iter().map(|&z| self.capped(z)).collect();
            let (logits, slopes): (Vec<f64>, Vec<f64>) = capped.into_iter().unzip();
            let (loss, slope) = cross_entropy(&logits, label as usize);
            let slope = slope.into_iter().zip(slopes).map(|(d, slope)| d * slope);
            dlogits.row_mut(row as usize).iter_mut().zip(slope).for_each(|(to, d)| *to = f64::from(weight) * d);
            nll.push(loss);
        }
        let total = nll.iter().zip(targets).map(|(nll, target)| nll * f64::from(target.2)).sum();
        (nll, total, dlogits.times(&self.matrix))
    }
}

/// Targets on every row for which `on` says so, with labels and weights of their own.
fn targets(name: &str, rows: usize, vocab: usize, on: impl Fn(usize) -> bool) -> Vec<Target> {
    let labels = hashed_ids(&format!("loss {name} labels"), rows, vocab as u64);
    let weights = uniform(&format!("loss {name} weights"), rows, 0.5);
    (0..rows).filter(|&row| on(row)).map(|row| (row as u32, labels[row], 0.7 + weights[row])).collect()
}

/// Runs the head over two batches, one after the other on one plan, twice each; `interior` puts a value before it whose
/// gradient is assigned first. Returns the worst error.
fn check(context: &Context, name: &str, head: &Head, x: &[f32], batches: [&[Target]; 2], interior: bool) -> f64 {
    let (vocab, channels) = (head.matrix.rows, head.matrix.cols);
    let rows = x.len() / channels;
    let matrix = Matrix::from_f32(rows, channels, x);
    let buffers = Targets::new(context, rows, vocab).unwrap();
    let nll = Guarded::new(context, &vec![f32::NAN; buffers.capacity]);
    let total = Guarded::new(context, &[0f32]);
    let buffers = Targets { nll: nll.buffer.clone(), total: total.buffer.clone(), capping: head.capping, ..buffers };
    let before = uniform(&format!("loss {name} before"), x.len(), 0.1);
    let (value, grad) = (Guarded::new(context, x), Guarded::new(context, &before));
    let mut t = Tape::new(context);
    let mut input = t.leaf(rows, channels, &value.buffer, Some(&grad.buffer));
    if interior {
        let zero = Guarded::new(context, &vec![0f32; x.len()]);
        let zero = t.leaf(rows, channels, &zero.buffer, None);
        input = t.add(input, zero);
    }
    let input = t.gather(input, &buffers.rows, buffers.capacity);
    t.cross_entropy(input, &head.weight, &buffers, true);
    t.backward();
    let plan = t.finish(context).unwrap();

    let mut worst = 0f64;
    let (mut dispatches, mut chunks) = (Vec::new(), Vec::new());
    for (batch, targets) in batches.into_iter().enumerate() {
        let (want_nll, want_total, want_dx) = head.reference(&matrix, targets);
        if vocab * rows < 20_000 {
            check_gradient(name, &matrix, &want_dx, 6, |x| head.reference(x, targets).1);
        }
        let gates = buffers.write(context, targets);
        let open: Vec<_> = buffers.chunks().filter(|chunk| chunk.start < targets.len()).collect();
        assert_eq!(gates, open.len());
        chunks.push(gates);
        let mut bits = Vec::new();
        for _ in 0..2 {
            grad.write(context, &before);
            total.write(context, &[2.5f32]);
            dispatches.push(plan.run(gates).dispatches);
            let once = (grad.read(context), total.read(context)[0]);
            // The total and the gradient add up over runs.
            plan.run(gates);
            let twice = (grad.read(context), total.read(context)[0]);
            for (runs, (grad, total)) in [(1.0, &once), (2.0, &twice)] {
                let got = Matrix::from_f32(rows, channels, grad);
                let got = got.zip(&Matrix::from_f32(rows, channels, &before), |after, before| after - before);
                let want = want_dx.scaled(runs);
                let error = nmse(&got, &want, &want);
                assert!(error <= TOLERANCE, "{name}, batch {batch}: dx after {runs} runs: an error of {error:.1e}");
                worst = worst.max(error);
                let (got, want) = (f64::from(*total), 2.5 + runs * want_total);
                assert!(((got - want) / want).abs() < 1e-5, "{name}, batch {batch}: a total of {got}, not {want}");
            }
            bits.push(once.0.iter().map(|v| v.to_bits()).chain([once.1.to_bits()]).collect::<Vec<_>>());
        }
        assert!(bits[0] == bits[1], "{name}, batch {batch}: two runs differ");
        let got = nll.read(context);
        let want = Matrix { rows: 1, cols: want_nll.len(), data: want_nll };
        let error = nmse(&Matrix::from_f32(1, targets.len(), &got[..targets.len()]), &want, &want);
        assert!(error <= TOLERANCE, "{name}, batch {batch}: losses: an error of {error:.1e}");
        worst = worst.max(error);
        // The rest of an open chunk pads.
        assert!(
            got[targets.len()..open.last().map_or(0, |chunk| chunk.end)].iter().all(|&nll| nll == 0.0),
            "{name}, batch {batch}: padding"
        );
    }
    // A chunk without targets costs nothing.
    if chunks[0] > chunks[1] {
        // The logits' rows, their cap, and a product to them and one back for each piece of the head.
        let of_chunk = 1 + usize::from(head.capping.is_some()) + 2 * head.weight.pieces().len();
        assert_eq!(dispatches[0] - dispatches[2], of_chunk * (chunks[0] - chunks[1]), "{name}: dispatches of chunks");
    }
    context.check().unwrap();
    worst
}

#[test]
fn every_shape() {
    let context = context();
    let mut worst = 0f64;
    for (rows, channels, vocab) in [
        (1, 1, 1),
        (1, 8, 2),
        (3, 33, 63),
        (7, 16, 64),
        (37, 48, 65),
        (64, 48, 193),
        (65, 32, 577),
        (66, 8, 1100),
        (150, 36, 97),
    ] {
        let name = format!("{rows} rows, {vocab} x {channels}");
        let x = uniform(&format!("loss {name} x"), rows * channels, 1.0);
        let w = uniform(&format!("loss {name} w"), vocab * channels, 0.5);
        let head = Head::plain(&context, vocab, channels, &w);
        let all = targets(&name, rows, vocab, |_| true);
        let some = targets(&name, rows, vocab, |row| row % 3 == 2 || rows < 3);
        if vocab == 1 {
            // There is nothing to choose: no loss and no gradient.
            continue;
        }
        for interior in [false, true] {
            worst = worst.max(check(&context, &name, &head, &x, [&all, &some], interior));
        }
    }
    eprintln!("cross_entropy: worst NMSE {worst:.1e}");
}

#[test]
fn a_quantized_head() {
    let context = context();
    let (rows, channels, vocab) = (70, 96, 301);
    let w = quantize_q4_1(&uniform("loss quantized w", vocab * channels, 0.4));
    let head = Head::new(&context, vocab, channels, GgmlType::Q4_1, &w);
    let x = uniform("loss quantized x", rows * channels, 1.0);
    let all = targets("quantized", rows, vocab, |_| true);
    let few = targets("quantized", rows, vocab, |row| row >= 67);
    let worst = check(&context, "quantized", &head, &x, [&all, &few], true);
    eprintln!("cross_entropy, quantized: worst NMSE {worst:.1e}");
}

#[test]
fn a_head_in_pieces() {
    let context = context();
    let (rows, channels, vocab) = (70, 96, 301);
    let values = uniform("loss pieces w", vocab * channels, 0.4);
    let x = uniform("loss pieces x", rows * channels, 1.0);
    let all = targets("pieces", rows, vocab, |_| true);
    let few = targets("pieces", rows, vocab, |row| row >= 67);
    for (ty, blocks) in [
        (GgmlType::Q4_1, quantize_q4_1(&values)),
        (GgmlType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    ] {
        for piece in [128, 300] {
            let head = Head::new(&context, vocab, channels, ty, &blocks).in_pieces(&context, ty, &blocks, piece);
            let worst = check(&context, "pieces", &head, &x, [&all, &few], true);
            eprintln!("cross_entropy, {ty} in pieces of {piece}: worst NMSE {worst:.1e}");
        }
    }
}

/// Of each target: the label's log-probability, the entropy, the mean logit, and whether the label is the first of the
/// highest.
fn measured(logits: &[f64], label: usize) -> [f64; 4] {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| (z - highest).exp()).sum();
    let lse = highest + sum.ln();
    let entropy = -logits.iter().map(|z| (z - lse).exp() * (z - lse)).sum::<f64>();
    let likeliest = logits.iter().position(|z| *z == highest) == Some(label);
    [logits[label] - lse, entropy, logits.iter().sum::<f64>() / logits.len() as f64, f64::from(likeliest)]
}

#[test]
fn soft_capped_logits() {
    let context = context();
    // Logits far within the cap, about it, and far past it.
    for (cap, temperature, size) in [(30.0, 1.0, 0.5), (2.0, 0.7, 1.0), (3.0, 1.3, 6.0)] {
        let (rows, channels, vocab) = (37, 48, 65);
        let name = format!("a cap of {cap}");
        let x = uniform(&format!("{name} x"), rows * channels, 1.0);
        let w = uniform(&format!("{name} w"), vocab * channels, size);
        let capping = Some(Capping { cap, temperature });
        let head = Head { capping, ..Head::plain(&context, vocab, channels, &w) };
        let all = targets(&name, rows, vocab, |_| true);
        let some = targets(&name, rows, vocab, |row| row % 3 == 2);
        check(&context, &name, &head, &x, [&all, &some], false);
    }
}

#[test]
fn measures() {
    let context = context();
    for (rows, channels, vocab) in [(1, 8, 2), (3, 33, 63), (37, 48, 65), (66, 8, 1100), (150, 36, 97)] {
        let name = format!("measures of {rows} rows, {vocab} x {channels}");
        let x = uniform(&format!("{name} x"), rows * channels, 1.0);
        // Large logits, of either sign, too.
        let w = uniform(&format!("{name} w"), vocab * channels, if rows == 37 { 4.0 } else { 0.5 });
        let head = Head::plain(&context, vocab, channels, &w);
        let logits = Matrix::from_f32(rows, channels, &x).times_transposed(&head.matrix);
        let buffers = Targets::new(&context, rows, vocab).unwrap();
        let measures = Guarded::new(&context, &vec![f32::NAN; 4 * buffers.capacity]);
        let value = Guarded::new(&context, &x);
        let mut t = Tape::new(&context);
        let input = t.leaf(rows, channels, &value.buffer, None);
        let input = t.gather(input, &buffers.rows, buffers.capacity);
        t.measure(input, &head.weight, &buffers, &measures.buffer);
        let plan = t.finish(&context).unwrap();
        let mut some = targets(&name, rows, vocab, |row| row % 3 == 2 || rows < 3);
        // A label that is the highest is known as such.
        let (row, label, _) = &mut some[0];
        let highest = |row: &[f64]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        *label = highest(logits.row(*row as usize)) as u32;
        let gates = buffers.write(&context, &some);
        plan.run(gates);
        let once = measures.read(&context);
        plan.run(gates);
        assert!(once[..4 * some.len()] == measures.read(&context)[..4 * some.len()], "{name}: two runs differ");
        let want: Vec<f64> =
            some.iter().flat_map(|&(row, label, _)| measured(logits.row(row as usize), label as usize)).collect();
        for (part, what) in ["log-probability", "entropy", "mean logit", "likeliest"].iter().enumerate() {
            let column = |values: &mut dyn Iterator<Item = f64>| {
                let data: Vec<f64> = values.skip(part).step_by(4).collect();
                Matrix { rows: 1, cols: data.len(), data }
            };
            let got = column(&mut once[..want.len()].iter().map(|&v| f64::from(v)));
            let want = column(&mut want.iter().copied());
            // Where the model is sure, nothing is left of the entropy but what rounding leaves.
            let error = got.zip(&want, |got, want| got - want).data.iter().map(|d| d * d).sum::<f64>();
            let size = want.data.iter().map(|v| v * v).sum::<f64>() + 1e-2;
            assert!(error / size <= TOLERANCE, "{name}: {what}: an error of {:.1e}", error / size);
        }
        context.check().unwrap();
    }
}

/// The gradient of the weighted losses to the head `w`.
fn head_gradient(w: &Matrix, x: &Matrix, targets: &[Target]) -> Matrix {
    let logits = x.times_transposed(w);
    let mut dlogits = Matrix::zeros(logits.rows, logits.cols);
    for &(row, label, weight) in targets {
        let (_, slope) = cross_entropy(logits.row(row as usize), label as usize);
        dlogits.row_mut(row as usize).iter_mut().zip(slope).for_each(|(to, d)| *to = f64::from(weight) * d);
    }
    dlogits.transposed_times(x)
}

#[test]
fn a_trained_head() {
    let mut worst = 0f64;
    for context in contexts() {
        // Fewer words than channels and more, one chunk and several.
        for (rows, channels, vocab) in [(1, 8, 2), (3, 33, 7), (37, 48, 65), (150, 36, 97), (70, 96, 61)] {
            let name = format!("trained head, {rows} rows, {vocab} x {channels}");
            let x = uniform(&format!("{name} x"), rows * channels, 1.0);
            let w = uniform(&format!("{name} w"), vocab * channels, 0.5);
            let before = uniform(&format!("{name} before"), w.len(), 0.1);
            let head = Head::plain(&context, vocab, channels, &w);
            let matrix = Matrix::from_f32(rows, channels, &x);
            let all = targets(&name, rows, vocab, |_| true);
            let some = targets(&name, rows, vocab, |row| row % 3 == 2 || rows < 3);
            let want_dw = [&all, &some].map(|targets| head_gradient(&head.matrix, &matrix, targets));
            check_gradient(&name, &head.matrix, &want_dw[0], 6, |w| {
                Head { weight: head.weight.clone(), matrix: w.clone(), capping: None }.reference(&matrix, &all).1
            });
            for wants_dx in [true, false] {
                let (values, grads) = (Guarded::at(&context, 64, &w), Guarded::at(&context, 64, &before));
                let parameter = Parameter { values: values.buffer.clone(), grads: grads.buffer.clone(), offset: 64 };
                let weight = Weight::trained("head", vocab, channels, parameter);
                let (value, dx) = (Guarded::new(&context, &x), Guarded::new(&context, &vec![0f32; x.len()]));
                let buffers = Targets::new(&context, rows, vocab).unwrap();
                let mut t = Tape::new(&context);
                let input = t.leaf(rows, channels, &value.buffer, wants_dx.then_some(&dx.buffer));
                let input = t.gather(input, &buffers.rows, buffers.capacity);
                t.cross_entropy(input, &weight, &buffers, true);
                t.backward();
                let plan = t.finish(&context).unwrap();
                for (targets, want) in [&all, &some].into_iter().zip(&want_dw) {
                    let gates = buffers.write(&context, targets);
                    let run = || {
                        grads.write(&context, &before);
                        dx.write(&context, &vec![0f32; x.len()]);
                        plan.run(gates);
                        grads.read(&context)
                    };
                    let (once, again) = (run(), run());
                    let bits = |run: &[f32]| run.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert!(bits(&once) == bits(&again), "{name}: two runs differ");
                    let got = Matrix::from_f32(vocab, channels, &once);
                    let got = got.zip(&Matrix::from_f32(vocab, channels, &before), |after, before| after - before);
                    let error = nmse(&got, want, want);
                    assert!(error <= TOLERANCE, "{name}: dw: an error of {error:.1e}");
                    worst = worst.max(error);
                    if wants_dx {
                        let (_, _, want) = head.reference(&matrix, targets);
                        let got = Matrix::from_f32(rows, channels, &dx.read(&context));
                        assert!(nmse(&got, &want, &want) <= TOLERANCE, "{name}: dx");
                    }
                }
                assert_eq!(values.read(&context), w);
                context.check().unwrap();
            }
        }
    }
    eprintln!("cross_entropy, trained head: worst NMSE {worst:.1e}");
}

/// With the identity as the head, the rows of `x` are the logits.
fn identity(context: &Context, n: usize) -> Head {
    let values: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
    Head::plain(context, n, n, &values)
}

#[test]
fn extreme_logits() {
    let context = context();
    let rows = 6;
    // A number a lane and several, in fours and not.
    for n in [67, 301, 1100] {
        let head = identity(&context, n);
        let mut x = uniform("loss extreme", rows * n, 1.0);
        // Far above, far below, both, all alike, and all zero.
        x[..n].iter_mut().for_each(|x| *x += 1e4);
        x[n..2 * n].iter_mut().for_each(|x| *x -= 1e4);
        x[2 * n..3 * n].iter_mut().for_each(|x| *x *= 1e4);
        x[3 * n..4 * n].fill(-1e4);
        x[4 * n..5 * n].fill(0.0);
        let all = targets("extreme", rows, n, |_| true);
        let few = targets("extreme", rows, n, |row| row == 3 || row == 4);
        check(&context, "extreme", &head, &x, [&all, &few], false);
    }
}

#[test]
fn a_single_word_has_no_loss() {
    let context = context();
    let head = Head::plain(&context, 1, 4, &[1.0, 2.0, 3.0, 4.0]);
    let buffers = Targets::new(&context, 1, 1).unwrap();
    let (value, grad) = (Guarded::new(&context, &[1f32; 4]), Guarded::new(&context, &[0.5f32; 4]));
    let mut t = Tape::new(&context);
    let x = t.leaf(1, 4, &value.buffer, Some(&grad.buffer));
    let x = t.gather(x, &buffers.rows, buffers.capacity);
    t.cross_entropy(x, &head.weight, &buffers, true);
    t.backward();
    t.finish(&context).unwrap().run(buffers.write(&context, &[(0, 0, 3.0)]));
    assert_eq!(grad.read(&context), [0.5; 4]);
    assert_eq!(pollster::block_on(context.read::<f32>(&buffers.total, 0, 1)).unwrap(), [0.0]);
    context.check().unwrap();
}

#[test]
fn weights_and_padding() {
    let context = context();
    let (rows, channels, vocab) = (9, 16, 61);
    let x = uniform("loss padding x", rows * channels, 1.0);
    let head = Head::plain(&context, vocab, channels, &uniform("loss padding w", vocab * channels, 0.5));
    let matrix = Matrix::from_f32(rows, channels, &x);
    // Rows out of order, one of weight zero, one of a negative weight.
    let targets: [Target; 5] = [(4, 3, 0.5), (0, 60, 1.0), (8, 0, 0.0), (5, 7, -2.0), (2, 2, 1e-3)];
    check(&context, "weights", &head, &x, [&targets, &targets[..2]], true);

    // A batch without targets loses nothing and moves nothing.
    let buffers = Targets::new(&context, rows, vocab).unwrap();
    let (value, grad) = (Guarded::new(&context, &x), Guarded::new(&context, &vec![1f32; x.len()]));
    let mut t = Tape::new(&context);
    let input = t.leaf(rows, channels, &value.buffer, Some(&grad.buffer));
    let input = t.gather(input, &buffers.rows, buffers.capacity);
    t.cross_entropy(input, &head.weight, &buffers, true);
    t.backward();
    let plan = t.finish(&context).unwrap();
    assert_eq!(buffers.write(&context, &[]), 0);
    for gates in [0, 1] {
        plan.run(gates);
        assert_eq!(grad.read(&context), vec![1.0; x.len()]);
        assert_eq!(pollster::block_on(context.read::<f32>(&buffers.total, 0, 1)).unwrap(), [0.0]);
    }

    // Without training there are losses and no gradients.
    let mut t = Tape::new(&context);
    let input = t.leaf(rows, channels, &value.buffer, Some(&grad.buffer));
    let input = t.gather(input, &buffers.rows, buffers.capacity);
    t.cross_entropy(input, &head.weight, &buffers, false);
    t.backward();
    t.finish(&context).unwrap().run(buffers.write(&context, &targets));
    let (_, want, _) = head.reference(&matrix, &targets);
    let got = f64::from(pollster::block_on(context.read::<f32>(&buffers.total, 0, 1)).unwrap()[0]);
    assert!(((got - want) / want).abs() < 1e-5, "{got}, not {want}");
    assert_eq!(grad.read(&context), vec![1.0; x.len()]);
    context.check().unwrap();
}

#[test]
fn a_loss_times_a_power_of_two_is_its_gradient_times_that() {
    let context = context();
    let (rows, channels, vocab) = (11, 32, 97);
    let x = Guarded::new(&context, &uniform("loss powers x", rows * channels, 1.0));
    let head = Head::plain(&context, vocab, channels, &uniform("loss powers w", vocab * channels, 0.5));
    let buffers = Targets::new(&context, rows, vocab).unwrap();
    let grad = Guarded::new(&context, &vec![0f32; rows * channels]);
    let mut t = Tape::new(&context);
    let input = t.leaf(rows, channels, &x.buffer, Some(&grad.buffer));
    let input = t.gather(input, &buffers.rows, buffers.capacity);
    t.cross_entropy(input, &head.weight, &buffers, true);
    t.backward();
    let plan = t.finish(&context).unwrap();
    let run = |factor: f32| {
        grad.write(&context, &vec![0f32; rows * channels]);
        let targets: Vec<Target> =
            targets("powers", rows, vocab, |_| true).into_iter().map(|(r, l, w)| (r, l, w * factor)).collect();
        plan.run(buffers.write(&context, &targets));
        grad.read(&context)
    };
    let one = run(1.0);
    for k in [-10, 3, 12] {
        let factor = (k as f32).exp2();
        assert_eq!(run(factor), one.iter().map(|g| g * factor).collect::<Vec<_>>(), "2^{k}");
    }
    context.check().unwrap();
}
