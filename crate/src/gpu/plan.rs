//! A recorded list made runnable: arena slots chosen by liveness, bind groups cached, replayed every step.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::kernel::Access;
use super::recorder::{Binding, BufferId, Command, Recorder, Storage, Work};
use super::{Context, Kernel};
use crate::Result;
use crate::clock::now_ms;

/// What one run of a plan costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlanStats {
    /// Dispatches encoded.
    pub dispatches: usize,
    /// Command buffers submitted.
    pub submits: usize,
    /// Bytes of the arena that the plan's buffers share.
    pub arena_bytes: u64,
    /// Milliseconds that encoding took, submits not counted: some drivers do the work inside them.
    pub encode_ms: f64,
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
    },
}

/// A command of a plan.
pub(super) struct Planned {
    pub(super) step: Step,
    gate: Option<u32>,
    weight: f64,
}

/// A static list of dispatches with everything they need.
pub struct Plan {
    pub(super) context: Context,
    steps: Vec<Planned>,
    arena_bytes: u64,
}

/// First and last command that touches each planned buffer.
fn lifetimes(recorder: &Recorder) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; recorder.buffers.len()];
    for (index, command) in recorder.commands.iter().enumerate() {
        for_each_buffer(command, |buffer| {
            let life = lives[buffer].get_or_insert((index, index));
            life.1 = index;
        });
    }
    lives
}

fn for_each_buffer(command: &Command, mut visit: impl FnMut(usize)) {
    match &command.work {
        Work::Dispatch { bindings, .. } => bindings.iter().for_each(|binding| visit(binding.buffer.0 as usize)),
        Work::Clear(buffer) => visit(buffer.0 as usize),
    }
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

/// Chooses an arena slot for each planned buffer; returns the choice and the slots' sizes. Two buffers share a slot
/// only when no command lies in both lifetimes, so one dispatch never sees a slot twice.
///
/// The largest buffers choose first, each the smallest slot that is free all its life: a small buffer never makes a
/// large slot necessary (Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size").
fn assign_slots(recorder: &Recorder) -> (Vec<Option<usize>>, Vec<u64>) {
    let lives = lifetimes(recorder);
    let size = |buffer: usize| match recorder.buffers[buffer] {
        Storage::Planned { bytes } => bytes,
        Storage::Fixed(_) => 0,
    };
    let mut order: Vec<usize> =
        (0..lives.len()).filter(|&buffer| size(buffer) > 0 && lives[buffer].is_some()).collect();
    order.sort_by_key(|&buffer| (std::cmp::Reverse(size(buffer)), lives[buffer]));
    let mut sizes: Vec<u64> = Vec::new();
    // The lives in each slot, by their first command.
    let mut taken: Vec<BTreeMap<usize, usize>> = Vec::new();
    let mut choice = vec![None; lives.len()];
    for buffer in order {
        let Some((first, last)) = lives[buffer] else { continue };
        let is_free = |lives: &BTreeMap<usize, usize>| {
            lives.range(..=last).next_back().is_none_or(|(_, &before_ends)| before_ends < first)
        };
        // Slots were made in order of size, the largest first.
        let slot = (0..sizes.len()).rev().find(|&slot| is_free(&taken[slot])).unwrap_or_else(|| {
            sizes.push(size(buffer));
            taken.push(BTreeMap::new());
            sizes.len() - 1
        });
        taken[slot].insert(first, last);
        choice[buffer] = Some(slot);
    }
    (choice, sizes)
}

impl Plan {
    /// Allocates the arena and prepares every dispatch.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when a buffer is larger than one binding may be, [`crate::Error::Gpu`] when the device
    /// refused something.
    pub fn new(context: &Context, mut recorder: Recorder) -> Result<Self> {
        drop_unread(&mut recorder);
        let (choice, sizes) = assign_slots(&recorder);
        let arena = sizes.iter().map(|&bytes| context.buffer("activations", bytes)).collect::<Result<Vec<_>>>()?;
        let uniforms = context.uniform(if recorder.uniforms.is_empty() { &[0; 16] } else { &recorder.uniforms });
        let resolve = |binding: &Binding| -> (wgpu::Buffer, u64) {
            match &recorder.buffers[binding.buffer.0 as usize] {
                Storage::Planned { bytes } => (
                    arena[choice[binding.buffer.0 as usize].expect("every bound buffer has a slot")].clone(),
                    binding.bytes.unwrap_or(*bytes),
                ),
                Storage::Fixed(buffer) => {
                    (buffer.clone(), binding.bytes.unwrap_or_else(|| buffer.size() - binding.offset))
                }
            }
        };
        let mut groups: HashMap<(usize, Vec<Binding>), wgpu::BindGroup> = HashMap::new();
        let mut steps = Vec::with_capacity(recorder.commands.len());
        for command in &recorder.commands {
            let step = match &command.work {
                Work::Dispatch { kernel, bindings, uniform, groups: grid } => {
                    let pipeline = context.pipeline(kernel);
                    let group = match groups.entry((kernel.index, bindings.clone())) {
                        Entry::Occupied(entry) => entry.get().clone(),
                        Entry::Vacant(entry) => {
                            let group = bind(context, kernel, &pipeline, &uniforms, bindings, &resolve);
                            entry.insert(group).clone()
                        }
                    };
                    Step::Dispatch { kernel, pipeline, group, uniform: *uniform, groups: *grid }
                }
                Work::Clear(buffer) => Step::Clear { buffer: resolve(&(*buffer).into()).0 },
            };
            steps.push(Planned { step, gate: command.gate, weight: command.weight });
        }
        context.check()?;
        Ok(Self { context: context.clone(), steps, arena_bytes: arena.iter().map(wgpu::Buffer::size).sum() })
    }

    /// The commands that run with the gates `0..open`.
    pub(super) fn steps(&self, open: usize) -> impl Iterator<Item = &Planned> {
        self.steps.iter().filter(move |planned| planned.gate.is_none_or(|gate| (gate as usize) < open))
    }

    /// Encodes and submits the whole list, with the commands of gates `0..open`.
    pub fn run(&self, open: usize) -> PlanStats {
        let mut stats = PlanStats { arena_bytes: self.arena_bytes, ..Default::default() };
        let total: f64 = self.steps(open).map(|planned| planned.weight).sum();
        let budget = self.context.pace().budget(self.context.info().software, total);
        let run_started = now_ms();
        let mut steps = self.steps(open).peekable();
        while steps.peek().is_some() {
            let started = now_ms();
            let mut encoder = self.context.device().create_command_encoder(&Default::default());
            let mut work = 0.0;
            // A submit holds at least one step, and no more when the next would pass the budget.
            let mut fits = |planned: &Planned| {
                let fits = work == 0.0 || work + planned.weight <= budget;
                work += planned.weight;
                fits
            };
            let mut next = |steps: &mut std::iter::Peekable<_>| steps.next_if(|planned: &&Planned| fits(planned));
            let mut step = next(&mut steps);
            while let Some(planned) = step {
                if let Step::Clear { buffer } = &planned.step {
                    encoder.clear_buffer(buffer, 0, None);
                    step = next(&mut steps);
                    continue;
                }
                let mut pass = encoder.begin_compute_pass(&Default::default());
                while let Some(Planned { step: Step::Dispatch { pipeline, group, uniform, groups, .. }, .. }) = step {
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, group, &[*uniform]);
                    pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
                    stats.dispatches += 1;
                    step = next(&mut steps);
                }
            }
            stats.encode_ms += now_ms() - started;
            self.context.submit(encoder);
            stats.submits += 1;
        }
        self.context.pace().watch(&self.context, run_started, total);
        stats
    }
}

fn bind(
    context: &Context,
    kernel: &Kernel,
    pipeline: &wgpu::ComputePipeline,
    uniforms: &wgpu::Buffer,
    bindings: &[Binding],
    resolve: &impl Fn(&Binding) -> (wgpu::Buffer, u64),
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
