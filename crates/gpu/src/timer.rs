//! How long the device itself computes, by timestamps before and after each pass.

use std::sync::mpsc;

use calotype_tensor::{CancelToken, Result};

use crate::{arena::lock, context::Context};

/// Passes that are timed between two times that it is asked.
const PASSES: u32 = 256;
const BYTES: u64 = 2 * 8 * PASSES as u64;

/// Timestamps of the passes since it was last asked.
pub(crate) struct Timer {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Passes that have timestamps, and whether there were more.
    used: u32,
    lacks: bool,
}

impl Timer {
    /// Where the timestamps of the next pass go.
    pub(crate) fn next(&mut self) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        if self.used == PASSES {
            self.lacks = true;
            return None;
        }
        let first = 2 * self.used;
        self.used += 1;
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }
}

impl Context {
    /// Times all passes from now on.
    pub(crate) fn start_timing(&self) -> Result<()> {
        let set = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2 * PASSES,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = self.buffer(BYTES as usize, usage, false)?;
        lock(&self.recorder).timer = Some(Timer { set, resolved, used: 0, lacks: false });
        self.check()
    }

    /// Seconds of the passes since this was last asked, once they have run; none where they are not timed.
    pub(crate) fn device_seconds(&self, cancel: &CancelToken) -> Result<Option<f64>> {
        let mut guard = lock(&self.recorder);
        let recorder = &mut *guard;
        let Some(timer) = recorder.timer.as_mut() else { return Ok(None) };
        let (used, lacks) = (std::mem::take(&mut timer.used), std::mem::take(&mut timer.lacks));
        if used == 0 {
            return Ok(Some(0.0));
        }
        let (set, resolved) = (timer.set.clone(), timer.resolved.clone());
        let bytes = 16 * u64::from(used);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer(bytes as usize, usage, false)?;
        let encoder = recorder.encoder(&self.device);
        encoder.resolve_query_set(&set, 0..2 * used, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
        self.submit(recorder)?;
        drop(guard);
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = sender.send(result);
        });
        self.wait(&receiver, cancel)?.map_err(|error| self.error(error.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|error| self.error(error.to_string()))?;
        let ticks = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let pairs = view.as_chunks::<8>().0.as_chunks::<2>().0.iter();
        let sum: u64 = pairs.map(|[from, to]| ticks(to).saturating_sub(ticks(from))).sum();
        let seconds = sum as f64 * f64::from(self.queue.get_timestamp_period()) / 1e9;
        Ok(Some(seconds).filter(|_| !lacks))
    }
}
