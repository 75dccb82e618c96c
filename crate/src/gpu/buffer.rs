//! Storage buffers, counted as they come and go.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes of buffers that live now, and the most that have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Bytes {
    /// Now.
    pub live: u64,
    /// The most at any moment.
    pub peak: u64,
}

/// The count of one context.
pub(super) type Tally = Rc<Cell<Bytes>>;

/// A buffer on the device; in a rehearsal, only its size. Cheap to clone.
#[derive(Clone)]
pub struct Buffer(pub(super) Rc<Memory>);

/// What all clones of a buffer share.
pub(super) struct Memory {
    bytes: u64,
    device: Option<wgpu::Buffer>,
    tally: Tally,
}

impl Buffer {
    /// `device` is `None` in a rehearsal.
    pub(super) fn new(bytes: u64, device: Option<wgpu::Buffer>, tally: &Tally) -> Self {
        let Bytes { live, peak } = tally.get();
        let live = live + bytes;
        tally.set(Bytes { live, peak: peak.max(live) });
        Self(Rc::new(Memory { bytes, device, tally: tally.clone() }))
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.0.bytes
    }

    /// The buffer itself; `None` in a rehearsal.
    pub(super) fn device(&self) -> Option<&wgpu::Buffer> {
        self.0.device.as_ref()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer of {} bytes", self.0.bytes)
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let bytes = self.tally.get();
        self.tally.set(Bytes { live: bytes.live - self.bytes, ..bytes });
    }
}
