//! A linear list of dispatches over buffers that do not exist yet.

use std::rc::Rc;

use super::forms::{Form, Forms, Tunable};
use super::kernel::Kernel;
use super::{Buffer, Context};

/// A buffer of one recorder: an existing one, or a place in the arena that the plan will choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub(super) u32);

/// A buffer, or a piece of it, as one binding sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    pub(super) buffer: BufferId,
    pub(super) offset: u64,
    pub(super) bytes: Option<u64>,
}

impl From<BufferId> for Binding {
    fn from(buffer: BufferId) -> Self {
        Binding { buffer, offset: 0, bytes: None }
    }
}

impl BufferId {
    /// The piece from byte `offset` (a multiple of 256) of `bytes` bytes.
    pub fn slice(self, offset: u64, bytes: u64) -> Binding {
        Binding { buffer: self, offset, bytes: Some(bytes) }
    }
}

pub(super) enum Storage {
    /// Lives in the arena from its first use to its last.
    Planned {
        bytes: u64,
    },
    Fixed(Buffer),
}

impl Storage {
    /// The buffer, if it outlives the plan.
    pub(super) fn fixed(self) -> Option<Buffer> {
        match self {
            Storage::Planned { .. } => None,
            Storage::Fixed(buffer) => Some(buffer),
        }
    }
}

pub(super) enum Work {
    Dispatch { kernel: &'static Kernel, bindings: Vec<Binding>, uniform: u32, groups: [u32; 3] },
    Clear(BufferId),
}

pub(super) struct Command {
    pub(super) work: Work,
    /// Runs only when the plan is run with more than this many gates open.
    pub(super) gate: Option<u32>,
    /// The part of the list that it belongs to: see [`Recorder::next_part`].
    pub(super) part: u32,
    /// About how many floating-point operations it does.
    pub(super) weight: f64,
}

/// Records dispatches in order. Which arena slot a buffer gets follows from the list itself.
pub struct Recorder {
    pub(super) buffers: Vec<Storage>,
    pub(super) commands: Vec<Command>,
    pub(super) uniforms: Vec<u8>,
    gate: Option<u32>,
    part: u32,
    subgroup: u32,
    half: bool,
    forms: Rc<Forms>,
    weight: Option<f64>,
}

/// What an invocation of an elementwise kernel costs, in floating-point operations: it waits for memory.
const ELEMENTWISE: f64 = 16.0;

/// Dynamic uniform offsets are multiples of this (WebGPU's default `minUniformBufferOffsetAlignment`).
const UNIFORM_ALIGNMENT: usize = 256;

impl Recorder {
    /// An empty list for this device.
    pub fn new(context: &Context) -> Self {
        Self {
            buffers: Vec::new(),
            commands: Vec::new(),
            uniforms: Vec::new(),
            gate: None,
            part: 0,
            subgroup: context.subgroup(),
            half: context.half(),
            forms: context.shared_forms().clone(),
            weight: None,
        }
    }

    /// Lanes of the subgroups that kernels of this list may use; 0 where they may use none.
    pub fn subgroup(&self) -> u32 {
        self.subgroup
    }

    /// Whether products of this list are made in half precision, where they can be.
    pub fn half(&self) -> bool {
        self.half
    }

    /// The form to do some work in.
    pub fn form(&self, work: Tunable) -> Form {
        self.forms.pick(work, self.subgroup)
    }

    /// Whether the plan chooses the buffer's place.
    pub fn is_planned(&self, id: BufferId) -> bool {
        matches!(self.buffers[id.0 as usize], Storage::Planned { .. })
    }

    /// A buffer for `count` values of four bytes that exists only while the list needs it.
    pub fn planned(&mut self, count: usize) -> BufferId {
        self.push(Storage::Planned { bytes: (count as u64 * 4).max(16).next_multiple_of(16) })
    }

    /// A buffer that outlives the plan: weights, inputs, outputs.
    pub fn fixed(&mut self, buffer: &Buffer) -> BufferId {
        let known = self.buffers.iter().position(|storage| matches!(storage, Storage::Fixed(other) if other == buffer));
        known.map_or_else(|| self.push(Storage::Fixed(buffer.clone())), |index| BufferId(index as u32))
    }

    /// Gives a planned buffer a place outside the plan.
    pub fn keep(&mut self, id: BufferId, buffer: &Buffer) {
        self.buffers[id.0 as usize] = Storage::Fixed(buffer.clone());
    }

    fn push(&mut self, storage: Storage) -> BufferId {
        self.buffers.push(storage);
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Records one dispatch: `bindings` from binding 1, `params` as binding 0.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        bindings: &[Binding],
        params: &P,
        groups: [u32; 3],
    ) {
        assert_eq!(bindings.len(), kernel.bindings.len(), "{}: bindings", kernel.name);
        if groups.contains(&0) {
            return;
        }
        let uniform = self.uniforms.len() as u32;
        self.uniforms.extend_from_slice(bytemuck::bytes_of(params));
        self.uniforms.resize(self.uniforms.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
        let work = Work::Dispatch { kernel, bindings: bindings.to_vec(), uniform, groups };
        // Elementwise kernels move some numbers an invocation.
        let [x, y, z] = kernel.workgroup;
        let invocations = groups.iter().map(|&n| f64::from(n)).product::<f64>() * f64::from(x * y * z);
        let weight = self.weight.take().unwrap_or(ELEMENTWISE * invocations);
        self.commands.push(Command { work, gate: self.gate, part: self.part, weight });
    }

    /// Says about how many floating-point operations the next dispatch does; for kernels that do more than a few an
    /// invocation.
    pub fn weigh(&mut self, operations: f64) {
        self.weight = Some(operations);
    }

    /// Fills a buffer with zeros.
    pub fn clear(&mut self, buffer: BufferId) {
        self.commands.push(Command { work: Work::Clear(buffer), gate: self.gate, part: self.part, weight: 0.0 });
    }

    /// What is recorded until [`Recorder::close_gate`] runs only when the plan is run with more than `gate` gates open.
    pub fn open_gate(&mut self, gate: usize) {
        self.gate = Some(gate as u32);
    }

    /// Ends what [`Recorder::open_gate`] began.
    pub fn close_gate(&mut self) {
        self.gate = None;
    }

    /// What is recorded from here on is the next part of the list: [`super::Plan::run_part`] can stop before it, so that
    /// what the parts before left outside the plan can be read, and inputs of this one written.
    pub fn next_part(&mut self) {
        self.part += 1;
    }
}

/// A step by which `count` places are visited once each, modulo `count`, so that each stretch of visits is spread over all
/// of them: near the golden ratio, and with no divisor in common. Adapters that run on a processor give each thread one
/// stretch of the workgroups; where these are not alike, such as the tiles of a causal mask, all have as much to do so.
pub fn stride(count: usize) -> u32 {
    let common = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let near = (count as f64 * 0.618_033_988_75) as usize;
    (near.max(1)..).find(|&step| common(step, count) == 1).unwrap_or(1) as u32
}

/// Workgroups for `count` elements at 64 a workgroup, in two dimensions where one would pass WebGPU's limit of 65535.
pub fn spread(count: usize) -> [u32; 3] {
    let groups = count.div_ceil(64) as u32;
    let y = groups.div_ceil(65535).max(1);
    [groups.div_ceil(y), y, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_visit_every_place_and_spread_each_stretch() {
        for count in 1..300 {
            let step = stride(count) as usize;
            let visits: Vec<usize> = (0..count).map(|i| i * step % count).collect();
            let mut places = visits.clone();
            places.sort_unstable();
            assert!(places.iter().copied().eq(0..count), "{count}");
            // Work that grows with the place, in two halves: neither has much more than the other; in order it would be a half.
            let work = |half: &[usize]| half.iter().map(|place| place + 1).sum::<usize>() as f64;
            let (one, other) = visits.split_at(count / 2);
            let apart = (work(one) - work(other)).abs() / work(&visits);
            assert!(count < 16 || apart < 0.2, "{count}: {apart}");
        }
    }
}
