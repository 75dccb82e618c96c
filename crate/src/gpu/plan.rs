//! A recorded list made runnable: arena slots chosen by liveness, bind groups cached, replayed every step.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::kernel::Access;
use super::recorder::{Binding, BufferId, Recorder, Storage, Work};
use super::slots::assign_slots;
use super::{Buffer, Context, Kernel};
use crate::Result;
use crate::clock::now_ms;

/// What one run of a plan costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlanStats {
    /// Dispatches encoded.
    pub dispatches: usize,
    /// Command buffers submitted.
    pub submits: usize,
    /// Bytes that the plan's buffers need at a time: the slots of the arena that they share.
    pub arena_bytes: u64,
    /// Milliseconds that encoding took, submits not counted: some drivers do the work inside them.
    pub encode_ms: f64,
}

impl std::ops::Add for PlanStats {
    type Output = Self;

    /// One plan and then another, in the same arena.
    fn add(self, other: Self) -> Self {
        Self {
            dispatches: self.dispatches + other.dispatches,
            submits: self.submits + other.submits,
            arena_bytes: self.arena_bytes.max(other.arena_bytes),
            encode_ms: self.encode_ms + other.encode_ms,
        }
    }
}

pub(super) enum Step {
    Dispatch {
        kernel: &'static Kernel,
        pipeline: wgpu::ComputePipeline,
        group: wgpu::BindGroup,
        uniform: u32,
        groups: [u32; 3],
    },
    Clear {
        buffer: wgpu::Buffer,
        bytes: u64,
    },
}

/// A command of a plan.
pub(super) struct Planned {
    pub(super) step: Step,
    gate: Option<u32>,
    part: u32,
    weight: f64,
}

/// A static list of dispatches with everything they need.
pub struct Plan {
    pub(super) context: Context,
    steps: Vec<Planned>,
    arena_bytes: u64,
    /// What the commands work in, for as long as they do.
    _memory: Vec<Buffer>,
}

/// Drops commands that only write planned buffers which nothing reads afterwards: what a block that is recomputed ends
/// in, or a gradient that comes along with another.
fn drop_unread(recorder: &mut Recorder) {
    let mut read = vec![false; recorder.buffers.len()];
    let mut keep = vec![true; recorder.commands.len()];
    for (index, command) in recorder.commands.iter().enumerate().rev() {
        let wanted = |id: BufferId, read: &[bool]| read[id.0 as usize] || !recorder.is_planned(id);
        match &command.work {
            Work::Clear(buffer) => keep[index] = wanted(*buffer, &read),
            Work::Dispatch { kernel, bindings, .. } => {
                let bound = || bindings.iter().zip(kernel.bindings);
                let mut written = bound().filter(|(_, access)| **access == Access::ReadWrite);
                keep[index] = written.any(|(binding, _)| wanted(binding.buffer, &read));
                if keep[index] {
                    // What is written may be added to what was there.
                    bound().for_each(|(binding, _)| read[binding.buffer.0 as usize] = true);
                }
            }
        }
    }
    let mut keep = keep.into_iter();
    recorder.commands.retain(|_| keep.next().unwrap_or(true));
}

/// Every command with its pipeline and its bind group. `slots` has the place of each planned buffer.
fn prepare(
    context: &Context,
    recorder: &Recorder,
    slots: &[Option<&wgpu::Buffer>],
    uniforms: &wgpu::Buffer,
) -> Vec<Planned> {
    let resolve = |binding: &Binding| -> (&wgpu::Buffer, u64) {
        let index = binding.buffer.0 as usize;
        let (buffer, bytes) = match &recorder.buffers[index] {
            Storage::Planned { bytes } => (slots[index], *bytes),
            Storage::Fixed(buffer) => (buffer.device(), buffer.size() - binding.offset),
        };
        (buffer.expect("every bound buffer has a place on the device"), binding.bytes.unwrap_or(bytes))
    };
    context.compile(recorder.commands.iter().filter_map(|command| match &command.work {
        Work::Dispatch { kernel, .. } => Some(*kernel),
        Work::Clear(_) => None,
    }));
    let mut groups: HashMap<(usize, Vec<Binding>), wgpu::BindGroup> = HashMap::new();
    let mut steps = Vec::with_capacity(recorder.commands.len());
    for command in &recorder.commands {
        let step = match &command.work {
            Work::Dispatch { kernel, bindings, uniform, groups: grid } => {
                let pipeline = context.pipeline(kernel);
                let group = match groups.entry((kernel.index, bindings.clone())) {
                    Entry::Occupied(entry) => entry.get().clone(),
                    Entry::Vacant(entry) => {
                        let group = bind(context, kernel, &pipeline, uniforms, bindings, &resolve);
                        entry.insert(group).clone()
                    }
                };
                Step::Dispatch { kernel, pipeline, group, uniform: *uniform, groups: *grid }
            }
            Work::Clear(buffer) => {
                let (buffer, bytes) = resolve(&(*buffer).into());
                Step::Clear { buffer: buffer.clone(), bytes }
            }
        };
        steps.push(Planned { step, gate: command.gate, part: command.part, weight: command.weight });
    }
    steps
}

impl Plan {
    /// Takes what it needs of the arena and prepares every dispatch; in a rehearsal there is nothing to prepare.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when a buffer is larger than one binding may be, [`crate::Error::Gpu`] when the device
    /// refused something.
    pub fn new(context: &Context, mut recorder: Recorder) -> Result<Self> {
        drop_unread(&mut recorder);
        let (choice, sizes) = assign_slots(&recorder);
        let mut memory = context.arena().take(&sizes, |bytes| context.buffer("activations", bytes))?;
        let uniforms = context.uniform(if recorder.uniforms.is_empty() { &[0; 16] } else { &recorder.uniforms });
        let steps = match uniforms.device() {
            Some(uniforms) => {
                let slot = |choice: &Option<usize>| memory[(*choice)?].device();
                prepare(context, &recorder, &choice.iter().map(slot).collect::<Vec<_>>(), uniforms)
            }
            None => Vec::new(),
        };
        context.check()?;
        memory.push(uniforms);
        memory.extend(recorder.buffers.into_iter().filter_map(Storage::fixed));
        Ok(Self { context: context.clone(), steps, arena_bytes: sizes.iter().sum(), _memory: memory })
    }

    /// The commands that run with the gates `0..open`.
    pub(super) fn steps(&self, open: usize) -> impl Iterator<Item = &Planned> {
        self.steps.iter().filter(move |planned| planned.gate.is_none_or(|gate| (gate as usize) < open))
    }

    /// What it needs, before any run.
    pub fn stats(&self) -> PlanStats {
        PlanStats { arena_bytes: self.arena_bytes, ..Default::default() }
    }

    /// Encodes and submits the whole list, with the commands of gates `0..open`.
    pub fn run(&self, open: usize) -> PlanStats {
        self.submit(|| self.steps(open))
    }

    /// As [`Plan::run`], of one part of the list alone ([`Recorder::next_part`]). The parts are run in their order, and no
    /// other plan in between: what one part leaves for the next lies in the arena, which plans share.
    pub fn run_part(&self, part: u32, open: usize) -> PlanStats {
        self.submit(|| self.steps(open).filter(move |planned| planned.part == part))
    }

    /// As [`Plan::run`], submit by submit: see [`super::Turns`].
    pub async fn run_in_turns(&self, open: usize) -> PlanStats {
        self.submit_in_turns(|| self.steps(open)).await
    }

    /// As [`Plan::run_part`], in the same way.
    pub async fn run_part_in_turns(&self, part: u32, open: usize) -> PlanStats {
        self.submit_in_turns(|| self.steps(open).filter(move |planned| planned.part == part)).await
    }

    fn submit<'a, I: Iterator<Item = &'a Planned>>(&'a self, commands: impl Fn() -> I) -> PlanStats {
        let mut submits = Submits::new(self, commands);
        while submits.next() {}
        submits.end()
    }

    async fn submit_in_turns<'a, I: Iterator<Item = &'a Planned>>(&'a self, commands: impl Fn() -> I) -> PlanStats {
        let mut submits = Submits::new(self, commands);
        let turns = self.context.turns();
        let held = turns.held_ms();
        while submits.is_left() {
            turns.next().await;
            submits.next();
        }
        if turns.held_ms() == held { submits.end() } else { submits.stats }
    }
}

/// A list of commands on its way to the device.
struct Submits<'a, I: Iterator<Item = &'a Planned>> {
    context: &'a Context,
    steps: std::iter::Peekable<I>,
    /// The weight of all, and of one submit.
    total: f64,
    budget: f64,
    started: f64,
    stats: PlanStats,
}

impl<'a, I: Iterator<Item = &'a Planned>> Submits<'a, I> {
    fn new(plan: &'a Plan, commands: impl Fn() -> I) -> Self {
        let total: f64 = commands().map(|planned| planned.weight).sum();
        let context = &plan.context;
        let budget = context.pace().budget(context.info().software, total);
        let steps = commands().peekable();
        Self { context, steps, total, budget, started: now_ms(), stats: plan.stats() }
    }

    fn is_left(&mut self) -> bool {
        self.steps.peek().is_some()
    }

    /// Encodes and submits what comes next; says whether there was something.
    fn next(&mut self) -> bool {
        if !self.is_left() {
            return false;
        }
        let Self { context, steps, budget, stats, .. } = self;
        let started = now_ms();
        let mut encoder = context.device().create_command_encoder(&Default::default());
        let mut work = 0.0;
        // A submit holds at least one step, and no more when the next would pass the budget.
        let mut fits = |planned: &Planned| {
            let fits = work == 0.0 || work + planned.weight <= *budget;
            work += planned.weight;
            fits
        };
        let mut next = |steps: &mut std::iter::Peekable<I>| steps.next_if(|planned| fits(planned));
        let mut step = next(steps);
        while let Some(planned) = step {
            if let Step::Clear { buffer, bytes } = &planned.step {
                encoder.clear_buffer(buffer, 0, Some(*bytes));
                step = next(steps);
                continue;
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            while let Some(Planned { step: Step::Dispatch { pipeline, group, uniform, groups, .. }, .. }) = step {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[*uniform]);
                pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
                stats.dispatches += 1;
                step = next(steps);
            }
        }
        stats.encode_ms += now_ms() - started;
        context.submit(encoder);
        context.turns().submitted(context.queue());
        stats.submits += 1;
        true
    }

    /// Watches how long all of it takes.
    fn end(self) -> PlanStats {
        if self.stats.submits > 0 {
            self.context.pace().watch(self.context.queue(), self.started, self.total);
        }
        self.stats
    }
}

fn bind<'a>(
    context: &Context,
    kernel: &Kernel,
    pipeline: &wgpu::ComputePipeline,
    uniforms: &wgpu::Buffer,
    bindings: &[Binding],
    resolve: &impl Fn(&Binding) -> (&'a wgpu::Buffer, u64),
) -> wgpu::BindGroup {
    let resolved: Vec<_> = bindings.iter().map(|binding| (resolve(binding), binding.offset)).collect();
    let mut entries = vec![wgpu::BindGroupEntry {
        binding: 0,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: uniforms,
            offset: 0,
            // A window of one parameter struct, moved by the dynamic offset; none is larger than its alignment.
            size: std::num::NonZeroU64::new(uniforms.size().min(256)),
        }),
    }];
    for (index, ((buffer, bytes), offset)) in resolved.iter().enumerate() {
        entries.push(wgpu::BindGroupEntry {
            binding: index as u32 + 1,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: *offset,
                size: std::num::NonZeroU64::new(*bytes),
            }),
        });
    }
    context.device().create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(kernel.name),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    })
}
