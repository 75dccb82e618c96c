//! Finds the fastest form of each product on the device at hand, by trying them.

use crate::clock::now_ms;
use crate::gpu::{Choices, Context, Form, Plan, Product, Recorder};
use crate::{Error, Result};

use super::matmul::{Nn, Nt, Operand, View};

/// A product is timed this often, and the fastest time counts.
const TIMES: usize = 3;
/// It is repeated in one submit until that is about this long: a submit has a cost of its own.
const LONG_MS: f64 = 2.0;
/// Most repetitions.
const MOST: usize = 64;
/// A GPU that had nothing to do, and it has nothing to do while a kernel is compiled, runs slowly at first: so long it is
/// kept busy before it is timed.
const WARM_MS: f64 = 30.0;

/// How long each form of a product took, in milliseconds.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The product.
    pub product: Product,
    /// Its forms, as far as they were tried.
    pub forms: Vec<(Form, f64)>,
}

impl Tried {
    /// The fastest form.
    pub fn fastest(&self) -> Option<Form> {
        self.forms.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|&(form, _)| form)
    }
}

/// Tries every form of each product, and makes the fastest the context's choice, until `limit_ms` have passed: what is
/// left keeps its default. `tell` is given the products done, those in all, and the last one.
///
/// # Errors
/// [`Error::Limit`] when a product does not fit, [`Error::Gpu`] when the device failed.
pub async fn tune(
    context: &Context,
    products: &[Product],
    limit_ms: f64,
    mut tell: impl FnMut(usize, usize, &Tried),
) -> Result<()> {
    let started = now_ms();
    for (index, product) in products.iter().enumerate() {
        if now_ms() - started > limit_ms {
            break;
        }
        let mut tried = Tried { product: product.clone(), forms: Vec::new() };
        for form in Form::ALL {
            if form == Form::Subgroup && context.subgroup() == 0 {
                continue;
            }
            context.force_form(Some(form));
            let time = time(context, product).await;
            context.force_form(None);
            tried.forms.push((form, time?));
        }
        if let Some(form) = tried.fastest() {
            context.choose_forms(Choices::from([(product.class(), form)]));
        }
        tell(index + 1, products.len(), &tried);
    }
    Ok(())
}

async fn time(context: &Context, product: &Product) -> Result<f64> {
    let once = plan(context, product, 1)?;
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
    let many = if times == 1 { once } else { plan(context, product, times)? };
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

/// The product of zeros, some times over: no kernel of ours asks what the numbers are.
fn plan(context: &Context, product: &Product, times: usize) -> Result<Plan> {
    let Product { straight, encoding, rows, ref cols, depth } = *product;
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
