//! Copies from the GPU that arrive later, without a stall in between.

use futures_channel::oneshot;

use super::{Buffer, Context};
use crate::clock::now_ms;
use crate::{Error, Result};

/// A copy of a piece of a buffer, on its way to the processor.
pub struct Readback {
    bytes: u64,
    /// `None` in a rehearsal.
    copy: Option<Copy>,
}

struct Copy {
    context: Context,
    staging: wgpu::Buffer,
    /// When it was there.
    arrived: oneshot::Receiver<Result<f64, wgpu::BufferAsyncError>>,
    #[cfg(not(target_arch = "wasm32"))]
    submission: wgpu::SubmissionIndex,
}

impl Context {
    /// Starts copying `count` values from byte `offset` (a multiple of 4) of `buffer`, as they stand after everything
    /// submitted so far.
    pub fn read_later<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, count: usize) -> Readback {
        self.read_pieces(&[(buffer, offset, (count * size_of::<T>()) as u64)])
    }

    /// Starts copying the first words of some buffers, `(buffer, words)`, one behind the other, in one submit.
    pub fn read_firsts(&self, firsts: &[(&Buffer, usize)]) -> Readback {
        let pieces: Vec<_> = firsts.iter().map(|&(buffer, words)| (buffer, 0, words as u64 * 4)).collect();
        self.read_pieces(&pieces)
    }

    /// `(buffer, byte offset, bytes)`, all but the last whole words.
    fn read_pieces(&self, pieces: &[(&Buffer, u64, u64)]) -> Readback {
        let bytes: u64 = pieces.iter().map(|piece| piece.2).sum();
        if self.is_rehearsal() {
            return Readback { bytes, copy: None };
        }
        let staging = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.next_multiple_of(4).max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device().create_command_encoder(&Default::default());
        let mut to = 0;
        for &(buffer, offset, bytes) in pieces {
            let buffer = buffer.device().expect("only a rehearsal has buffers that are not there");
            encoder.copy_buffer_to_buffer(buffer, offset, &staging, to, bytes.next_multiple_of(4));
            to += bytes;
        }
        let submission = self.submit(encoder);
        #[cfg(target_arch = "wasm32")]
        let _ = submission;
        let (sender, arrived) = oneshot::channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result.map(|()| now_ms()));
        });
        let copy = Copy {
            context: self.clone(),
            staging,
            arrived,
            #[cfg(not(target_arch = "wasm32"))]
            submission,
        };
        Readback { bytes, copy: Some(copy) }
    }

    /// Copies `count` values and waits for them.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, count: usize) -> Result<Vec<T>> {
        self.read_later::<T>(buffer, offset, count).wait().await
    }
}

impl Readback {
    /// Waits for the copy.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn wait<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        Ok(self.wait_timed().await?.0)
    }

    /// Waits for the copy; with it comes the moment at which it was there, by [`now_ms`], which may be long ago.
    ///
    /// # Errors
    /// As [`Readback::wait`].
    pub async fn wait_timed<T: bytemuck::Pod>(self) -> Result<(Vec<T>, f64)> {
        let Some(copy) = self.copy else {
            return Ok((vec![T::zeroed(); self.bytes as usize / size_of::<T>()], now_ms()));
        };
        #[cfg(not(target_arch = "wasm32"))]
        copy.context.poll(Some(copy.submission))?;
        let arrived = copy.arrived.await;
        copy.context.check()?;
        let Ok(Ok(arrived)) = arrived else {
            return Err(Error::device_lost("a result could not be read back"));
        };
        let view = copy.staging.slice(..self.bytes).get_mapped_range().map_err(Error::device_lost)?;
        let values = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        copy.staging.unmap();
        Ok((values, arrived))
    }
}
