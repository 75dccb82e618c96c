//! Finds the fastest form of each product, and of attention, on the device at hand, by trying them.

use crate::clock::now_ms;
use crate::format::encoding::Encoding;
use crate::gpu::{Choices, Context, Form, Plan, Recorder, Tunable};
use crate::tape::Tape;
use crate::{Error, Result};

use super::matmul::{Nn, Nt, Operand, View};
use super::{Heads, Masks, Scoring};

/// Work is timed this often, and the fastest time counts.
const TIMES: usize = 3;
/// It is repeated in one submit until that is about this long: a submit has a cost of its own.
const LONG_MS: f64 = 2.0;
/// Most repetitions.
const MOST: usize = 64;
/// A GPU that had nothing to do, and it has nothing to do while a kernel is compiled, runs slowly at first: so long it is
/// kept busy before it is timed.
const WARM_MS: f64 = 30.0;

/// How long each form of some work took, in milliseconds.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The work.
    pub work: Tunable,
    /// Its forms, as far as they were tried.
    pub forms: Vec<(Form, f64)>,
}

impl Tried {
    /// The fastest form.
    pub fn fastest(&self) -> Option<Form> {
        self.forms.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|&(form, _)| form)
    }
}

/// Tries every form of each piece of work, and makes the fastest the context's choice, until `limit_ms` have passed: what
/// is left keeps its default. `tell` is given the pieces done, those in all, and the last one.
///
/// # Errors
/// [`Error::Limit`] when something does not fit, [`Error::Gpu`] when the device failed.
pub async fn tune(
    context: &Context,
    work: &[Tunable],
    limit_ms: f64,
    mut tell: impl FnMut(usize, usize, &Tried),
) -> Result<()> {
    let started = now_ms();
    for (index, piece) in work.iter().enumerate() {
        if now_ms() - started > limit_ms {
            break;
        }
        let mut tried = Tried { work: piece.clone(), forms: Vec::new() };
        for form in piece.forms(context.subgroup()) {
            // The rest of what it takes to run the piece has its own forms.
            context.choose_forms(Choices::from([(piece.class(), form)]));
            tried.forms.push((form, time(context, piece).await?));
        }
        if let Some(form) = tried.fastest() {
            context.choose_forms(Choices::from([(piece.class(), form)]));
        }
        tell(index + 1, work.len(), &tried);
    }
    Ok(())
}

async fn time(context: &Context, work: &Tunable) -> Result<f64> {
    let once = plan(context, work, 1)?;
    let run = async |plan: &Plan| -> Result<f64> {
        let started = now_ms();
        plan.run(0);
        context.wait().await?;
        Ok(now_ms() - started)
    };
    // The first run compiles.
    run(&once).await?;
    let single = run(&once).await?;
    let times = ((LONG_MS / single.max(1e-3)).ceil() as usize).clamp(1, MOST);
    let many = if times == 1 { once } else { plan(context, work, times)? };
    let started = now_ms();
    while now_ms() - started < WARM_MS {
        run(&many).await?;
    }
    let mut fastest = f64::INFINITY;
    for _ in 0..TIMES {
        fastest = fastest.min(run(&many).await? / times as f64);
    }
    Ok(fastest)
}

/// The work on zeros, some times over: no kernel of ours asks what the numbers are.
fn plan(context: &Context, work: &Tunable, times: usize) -> Result<Plan> {
    match *work {
        Tunable::Product { straight, encoding, rows, ref cols, depth } => {
            product(context, straight, encoding, [rows, depth], cols, times)
        }
        Tunable::Attention { rows, heads, kv_heads, head_dim, .. } => {
            attention(context, rows, Heads { heads, kv_heads, head_dim }, times)
        }
    }
}

fn product(
    context: &Context,
    straight: bool,
    encoding: Encoding,
    [rows, depth]: [usize; 2],
    cols: &[usize],
    times: usize,
) -> Result<Plan> {
    let width: usize = cols.iter().sum();
    let elements = (width * depth) as u64;
    let mut list = Recorder::new(context);
    let mut fixed = |what, bytes: u64| Ok::<_, Error>(list.fixed(&context.buffer(what, bytes)?));
    let codes = fixed("codes", encoding.codes_bytes(elements))?;
    let scales = match encoding.scales_bytes(elements) {
        0 => None,
        bytes => Some(fixed("scales", bytes)?.into()),
    };
    let a = View::rows(fixed("a", (rows * depth * 4) as u64)?, depth);
    let out = View::rows(fixed("out", (rows * width * 4) as u64)?, width);
    let b = Operand { encoding, codes: codes.into(), scales };
    for _ in 0..times {
        if straight {
            let b = b.clone();
            Nn { rows, cols: width, depth, a, b, out, accumulate: false, low: None, gated: None }.record(&mut list);
        } else {
            let segments = cols.iter().map(|&cols| (cols, None)).collect();
            let b = b.clone();
            Nt { rows, segments, depth, a, b, out, low: None, residual: None }.record(&mut list);
        }
    }
    Plan::new(context, list)
}

/// Attention both ways, of which one kernel has the form that is tried; every row sees those before it.
fn attention(context: &Context, rows: usize, heads: Heads, times: usize) -> Result<Plan> {
    let Heads { heads: h, kv_heads, head_dim } = heads;
    let of_each = |range: fn(u32, u32) -> [u32; 2]| (0..rows as u32).map(|i| range(i, rows as u32)).collect::<Vec<_>>();
    let masks = Masks {
        keys_of_row: context.buffer_with("masks", &of_each(|row, _| [0, row + 1]))?,
        rows_of_key: context.buffer_with("masks", &of_each(|key, rows| [key, rows]))?,
    };
    let floats = |what, cols: usize| context.buffer(what, (rows * cols * 4) as u64);
    let cols = (h + 2 * kv_heads) * head_dim;
    let (qkv, gradient, above) = (floats("qkv", cols)?, floats("gradient", cols)?, floats("gradient", h * head_dim)?);
    let mut t = Tape::new(context);
    let qkv = t.leaf(rows, cols, &qkv, Some(&gradient));
    for _ in 0..times {
        let y = t.attention(qkv, None, heads, Scoring::default(), &masks);
        t.seed_grad(y, &above);
    }
    t.backward();
    t.finish(context)
}
