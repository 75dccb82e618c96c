//! Where a plan's time goes: each dispatch alone, waited for.

use super::plan::{Planned, Step};
use super::{Context, Plan};
use crate::Result;
use crate::clock::now_ms;

/// What all dispatches of one kernel took in one run of a plan.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct KernelTime {
    /// The kernel's name; "clear" for buffers filled with zeros.
    pub kernel: &'static str,
    /// How often it ran.
    pub dispatches: usize,
    /// Milliseconds in all.
    pub ms: f64,
}

impl Context {
    async fn timed(&self, commands: wgpu::CommandEncoder) -> Result<f64> {
        let started = now_ms();
        self.submit(commands);
        self.wait().await?;
        Ok(now_ms() - started)
    }
}

impl Plan {
    /// Runs the plan as [`Plan::run`] does, but waits for each command before the next, and says what each kernel took.
    /// What a submit and its wait cost by themselves is measured first and taken off.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn profile(&self, open: usize) -> Result<Vec<KernelTime>> {
        let context = &self.context;
        let encoder = || context.device().create_command_encoder(&Default::default());
        context.wait().await?;
        let mut idle = f64::INFINITY;
        for _ in 0..16 {
            idle = idle.min(context.timed(encoder()).await?);
        }
        let mut times: Vec<KernelTime> = Vec::new();
        for Planned { step, .. } in self.steps(open) {
            let mut commands = encoder();
            let name = match step {
                Step::Clear { buffer, bytes } => {
                    commands.clear_buffer(buffer, 0, Some(*bytes));
                    "clear"
                }
                Step::Dispatch { kernel, pipeline, group, uniform, groups } => {
                    let mut pass = commands.begin_compute_pass(&Default::default());
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, group, &[*uniform]);
                    pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
                    kernel.name
                }
            };
            let ms = (context.timed(commands).await? - idle).max(0.0);
            match times.iter_mut().find(|time| time.kernel == name) {
                Some(time) => {
                    time.dispatches += 1;
                    time.ms += ms;
                }
                None => times.push(KernelTime { kernel: name, dispatches: 1, ms }),
            }
        }
        Ok(times)
    }
}
