//! Where a plan's time goes: each dispatch alone, waited for.

use super::plan::{Planned, Step};
use super::{Buffer, Context, Plan};
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

/// Passes that are timed in one submit, which stays well below what a watchdog allows.
const PASSES: usize = 64;

/// The device's own clock around each of some passes.
struct Clock {
    queries: wgpu::QuerySet,
    times: Buffer,
}

impl Clock {
    fn new(context: &Context) -> Self {
        let (ty, count) = (wgpu::QueryType::Timestamp, 2 * PASSES as u32);
        let described = wgpu::QuerySetDescriptor { label: Some("clock"), ty, count };
        Self { queries: context.device().create_query_set(&described), times: context.timestamps(count) }
    }

    fn around(&self, pass: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * pass as u32),
            end_of_pass_write_index: Some(2 * pass as u32 + 1),
        }
    }

    /// Submits the commands, whose first `passes` passes are timed; milliseconds of each.
    async fn read(&self, context: &Context, mut commands: wgpu::CommandEncoder, passes: usize) -> Result<Vec<f64>> {
        let times = self.times.device().expect("no rehearsal is profiled");
        if passes > 0 {
            commands.resolve_query_set(&self.queries, 0..2 * passes as u32, times, 0);
        }
        context.submit(commands);
        let ticks = context.read::<u64>(&self.times, 0, 2 * passes).await?;
        let period = f64::from(context.queue().get_timestamp_period()) / 1e6;
        Ok(ticks.chunks(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
    }
}

fn encode(commands: &mut wgpu::CommandEncoder, step: &Step, clock: Option<wgpu::ComputePassTimestampWrites>) {
    match step {
        Step::Clear { buffer, bytes } => commands.clear_buffer(buffer, 0, Some(*bytes)),
        Step::Dispatch { pipeline, group, uniform, groups, .. } => {
            let described = wgpu::ComputePassDescriptor { label: None, timestamp_writes: clock };
            let mut pass = commands.begin_compute_pass(&described);
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[*uniform]);
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        }
    }
}

fn add(times: &mut Vec<KernelTime>, kernel: &'static str, ms: f64) {
    match times.iter_mut().find(|time| time.kernel == kernel) {
        Some(time) => {
            time.dispatches += 1;
            time.ms += ms;
        }
        None => times.push(KernelTime { kernel, dispatches: 1, ms }),
    }
}

impl Plan {
    /// Runs the plan as [`Plan::run`] does, each dispatch alone, and says what each kernel took: by the device's clock
    /// where it has one, and there without the clearing of buffers; else by waiting for each command before the next,
    /// less what a submit and its wait cost by themselves.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn profile(&self, open: usize) -> Result<Vec<KernelTime>> {
        self.context.wait().await?;
        if self.context.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.profile_by_clock(open).await
        } else {
            self.profile_by_waiting(open).await
        }
    }

    async fn profile_by_clock(&self, open: usize) -> Result<Vec<KernelTime>> {
        let device = self.context.device();
        let clock = Clock::new(&self.context);
        let mut times = Vec::new();
        let mut steps = self.steps(open).peekable();
        while steps.peek().is_some() {
            let mut commands = device.create_command_encoder(&Default::default());
            let mut names = Vec::new();
            while let Some(Planned { step, .. }) = steps.next_if(|_| names.len() < PASSES) {
                encode(&mut commands, step, Some(clock.around(names.len())));
                if let Step::Dispatch { kernel, .. } = step {
                    names.push(kernel.name);
                }
            }
            let ms = clock.read(&self.context, commands, names.len()).await?;
            names.iter().zip(ms).for_each(|(name, ms)| add(&mut times, name, ms));
        }
        Ok(times)
    }

    async fn profile_by_waiting(&self, open: usize) -> Result<Vec<KernelTime>> {
        let context = &self.context;
        let encoder = || context.device().create_command_encoder(&Default::default());
        let mut idle = f64::INFINITY;
        for _ in 0..16 {
            idle = idle.min(context.timed(encoder()).await?);
        }
        let mut times = Vec::new();
        for Planned { step, .. } in self.steps(open) {
            let mut commands = encoder();
            encode(&mut commands, step, None);
            let name = if let Step::Dispatch { kernel, .. } = step { kernel.name } else { "clear" };
            add(&mut times, name, (context.timed(commands).await? - idle).max(0.0));
        }
        Ok(times)
    }
}
