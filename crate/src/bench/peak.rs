//! What the adapter can do at most, measured in the same run: what everything else is a share of.

use serde::Serialize;

use super::timing::{self, Timing};
use crate::Result;
use crate::clock::now_ms;
use crate::gpu::{Buffer, Context, Kernel, Plan, Recorder, kernels, spread};

/// The most that the adapter does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// Arithmetic, in 1e9 f32 operations a second: a fused multiply-add is two.
    pub gflops: f64,
    /// Memory traffic, in 1e9 bytes a second: a copied byte is two.
    pub gbs: f64,
    /// The times of the arithmetic kernel.
    pub alu: Timing,
    /// The times of the copying kernel.
    pub copy: Timing,
}

/// Invocations of the arithmetic kernel: enough to fill the largest GPU.
const INVOCATIONS: usize = 1 << 17;
/// Operations of one invocation in one round, as the kernel states them: chains, numbers in a vec4, steps, two a step.
const OPERATIONS: usize = 2 * 4 * 32 * 2;
/// The arithmetic kernel does enough rounds to run at least so long.
const ALU_MS: f64 = 50.0;
/// Bytes of each of the two buffers of the copy: what one binding may hold on every device.
const COPIED: u64 = 128 << 20;
/// vec4 that one invocation copies, as the kernel states them.
const EACH: usize = 8;

/// Measures both peaks: the best of several runs each, for a peak is not made by what disturbs it.
///
/// # Errors
/// As [`Plan::new`] and [`Context::wait`].
pub async fn measure(context: &Context) -> Result<Peak> {
    let out = context.buffer("sums", INVOCATIONS as u64 * 4)?;
    let mut rounds = 1;
    let alu = loop {
        let params = kernels::bench_alu::Params { rounds, scale: 0.999, shift: 0.001 };
        let plan = one(context, &kernels::BENCH_ALU_FMA, &[&out], &params, spread(INVOCATIONS))?;
        plan.run(0);
        context.wait().await?;
        let started = now_ms();
        plan.run(0);
        context.wait().await?;
        if now_ms() - started >= ALU_MS {
            break timing::of_plan(context, &plan, 0).await?;
        }
        rounds *= 2;
    };
    let count = COPIED as usize / size_of::<[f32; 4]>();
    let (x, y) = (context.buffer("copied", COPIED)?, context.buffer("copy", COPIED)?);
    let params = kernels::bench_copy::Params { count: count as u32 };
    let plan = one(context, &kernels::BENCH_COPY_VEC4, &[&x, &y], &params, spread(count / EACH))?;
    let copy = timing::of_plan(context, &plan, 0).await?;
    let operations = INVOCATIONS * OPERATIONS * rounds as usize;
    Ok(Peak { gflops: operations as f64 / alu.min_ms / 1e6, gbs: 2.0 * COPIED as f64 / copy.min_ms / 1e6, alu, copy })
}

fn one<P: bytemuck::Pod>(
    context: &Context,
    kernel: &'static Kernel,
    buffers: &[&Buffer],
    params: &P,
    groups: [u32; 3],
) -> Result<Plan> {
    let mut list = Recorder::new(context);
    let bindings: Vec<_> = buffers.iter().map(|buffer| list.fixed(buffer).into()).collect();
    list.dispatch(kernel, &bindings, params, groups);
    Plan::new(context, list)
}
