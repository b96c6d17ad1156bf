//! What the device is asked to do: recorded into one open pass, and submitted in parts that are short enough for drivers that stop
//! what takes seconds.

use std::{collections::HashMap, sync::mpsc};

use calotype_tensor::{CancelToken, Result};

use crate::{
    arena::{Span, lock},
    context::Context,
    counts::Counts,
    kernel::Kernel,
    timer::Timer,
};

/// After so many dispatches what is recorded is submitted.
const DISPATCHES: usize = 64;
/// After so many seconds of work too, as a slow card takes.
pub(crate) const SECONDS: f64 = 0.05;
/// What a slow card computes and moves in a second.
const SLOW_FLOPS: f64 = 1e12;
const SLOW_BYTES: f64 = 5e10;
/// After so many bytes of uploads too, so that not all of a model's staging is held at a time.
const UPLOADED: usize = 64 << 20;
/// Bind groups that are kept; a step of a UNet has about 500.
const GROUPS: usize = 8192;

/// What is recorded and not yet submitted. Fields are dropped in this order: a pass before its encoder.
#[derive(Default)]
pub(crate) struct Recorder {
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    dispatches: usize,
    /// Seconds of work that are recorded, as a slow card takes.
    work: f64,
    uploaded: usize,
    submissions: usize,
    /// Of what the next dispatch is bound to, where an operation is in parts.
    share: Option<f64>,
    pub(crate) counts: Counts,
    pub(crate) timer: Option<Timer>,
    /// Bind groups by kernel and bound spans: a network's next step binds the same again.
    groups: HashMap<(Kernel, Vec<[u64; 3]>), wgpu::BindGroup>,
}

impl Recorder {
    /// Forgets bind groups, which keep buffers: called when a buffer goes.
    pub(crate) fn forget(&mut self) {
        self.groups.clear();
    }

    /// Counts submissions from here.
    pub(crate) fn count_anew(&mut self) {
        self.submissions = 0;
    }

    pub(crate) fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    fn pass(&mut self, device: &wgpu::Device) -> &mut wgpu::ComputePass<'static> {
        let encoder = self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        let timer = &mut self.timer;
        self.pass.get_or_insert_with(|| {
            let timestamp_writes = timer.as_mut().and_then(Timer::next);
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            encoder.begin_compute_pass(&descriptor).forget_lifetime()
        })
    }
}

/// One run of a kernel.
pub(crate) struct Dispatch<'a> {
    pub(crate) kernel: Kernel,
    /// What it is bound to: tensors, then parameters; none where it has none.
    pub(crate) spans: &'a [Option<Span<'a>>],
    /// Its parameters.
    pub(crate) words: &'a [u32],
    pub(crate) grid: [usize; 3],
}

impl Dispatch<'_> {
    /// Bytes that it is bound to, each once.
    fn bytes(&self) -> u64 {
        let key = |span: &Span| [span.id, span.offset, span.length];
        let spans: Vec<[u64; 3]> = self.spans.iter().flatten().map(key).collect();
        let first = |(n, span): (usize, &[u64; 3])| if spans[..n].contains(span) { 0 } else { span[2] };
        spans.iter().enumerate().map(first).sum()
    }
}

/// In how many parts an operation is run, each of them so short that it may be submitted alone.
pub(crate) fn parts(flops: f64) -> usize {
    (flops / (SLOW_FLOPS * SECONDS)).ceil().max(1.0) as usize
}

impl Context {
    /// Records a run of a kernel.
    pub(crate) fn dispatch<'a>(&'a self, dispatch: &Dispatch<'a>) -> Result<()> {
        self.check()?;
        let &Dispatch { kernel, spans, words, grid } = dispatch;
        debug_assert_eq!(kernel.program.bindings().iter().sum::<usize>(), spans.len(), "{kernel:?}");
        debug_assert_eq!(kernel.program.words(), words.len(), "{kernel:?}");
        let most = self.limits.max_storage_buffer_binding_size;
        if let Some(span) = spans.iter().flatten().find(|span| span.length > most) {
            let message = format!(
                "it binds at most {most} bytes, a tensor has {}: make the image or the batch smaller",
                span.length
            );
            return Err(self.error(message));
        }
        let most = self.limits.max_compute_workgroups_per_dimension as usize;
        if grid.iter().any(|&extent| extent > most) {
            return Err(self.error(format!("it runs at most {most} workgroups in a direction, not {grid:?}")));
        }
        let mut recorder = lock(&self.recorder);
        let moved = dispatch.bytes() as f64 * recorder.share.take().unwrap_or(1.0);
        recorder.counts.add(kernel.program.name(), moved as u64);
        drop(recorder);
        if self.faults().idle {
            return Ok(());
        }
        let pipeline = self.pipeline(kernel)?;
        let mut guard = lock(&self.recorder);
        let recorder = &mut *guard;
        let key = spans.iter().map(|span| span.map_or([0; 3], |span| [span.id, span.offset, span.length])).collect();
        if recorder.groups.len() >= GROUPS {
            recorder.forget();
        }
        let group = recorder.groups.entry((kernel, key)).or_insert_with(|| {
            let bound = |(binding, span): (usize, &Option<Span<'a>>)| {
                let resource = match *span {
                    Some(Span { buffer, offset, length, .. }) => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset,
                        size: std::num::NonZeroU64::new(length),
                    }),
                    None => self.nothing.as_entire_binding(),
                };
                wgpu::BindGroupEntry { binding: binding as u32, resource }
            };
            let entries: Vec<_> = spans.iter().enumerate().map(bound).collect();
            let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &pipeline.layout, entries: &entries };
            self.device.create_bind_group(&descriptor)
        });
        let group = group.clone();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let pass = recorder.pass(&self.device);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.set_immediates(0, &bytes);
        let [x, y, z] = grid.map(|extent| extent as u32);
        pass.dispatch_workgroups(x, y, z);
        recorder.dispatches += 1;
        recorder.work += moved / SLOW_BYTES;
        if recorder.dispatches >= DISPATCHES {
            self.submit(recorder)?;
        }
        Ok(())
    }

    /// Counts floating-point operations that are about to be recorded: what is recorded already is submitted, if it would be too much.
    /// The next dispatch has such a share of what it is bound to.
    pub(crate) fn works(&self, flops: f64, share: f64) -> Result<()> {
        let mut recorder = lock(&self.recorder);
        recorder.share = Some(share);
        recorder.counts.flops += flops;
        let seconds = flops / SLOW_FLOPS;
        if recorder.work + seconds > SECONDS {
            self.submit(&mut recorder)?;
        }
        recorder.work += seconds;
        Ok(())
    }

    pub(crate) fn submit(&self, recorder: &mut Recorder) -> Result<()> {
        recorder.pass = None;
        (recorder.dispatches, recorder.work, recorder.uploaded) = (0, 0.0, 0);
        if let Some(encoder) = recorder.encoder.take() {
            if self.faults().submission == Some(recorder.submissions) {
                self.device.destroy();
            }
            recorder.submissions += 1;
            self.queue.submit([encoder.finish()]);
        }
        self.check()
    }

    /// How many submissions there were so far.
    pub(crate) fn submissions(&self) -> usize {
        lock(&self.recorder).submissions
    }

    /// Records a copy of bytes to a span, which it fills.
    pub(crate) fn upload(&self, bytes: &[u8], to: Span) -> Result<()> {
        if self.faults().idle {
            return Ok(());
        }
        let length = bytes.len().next_multiple_of(4);
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let staging = self.buffer(length, usage, true)?;
        let mut view = staging.get_mapped_range_mut(..).map_err(|error| self.error(error.to_string()))?;
        view.slice(..bytes.len()).copy_from_slice(bytes);
        drop(view);
        staging.unmap();
        let mut recorder = lock(&self.recorder);
        let encoder = recorder.encoder(&self.device);
        encoder.copy_buffer_to_buffer(&staging, 0, to.buffer, to.offset, length as u64);
        recorder.uploaded += length;
        if recorder.uploaded < UPLOADED {
            return self.check();
        }
        self.submit(&mut recorder)?;
        drop(recorder);
        self.finish(&CancelToken::new())
    }

    /// Waits for everything that was asked for.
    pub(crate) fn finish(&self, cancel: &CancelToken) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        self.submit(&mut lock(&self.recorder))?;
        self.queue.on_submitted_work_done(move || {
            // Nobody listens once a wait was cancelled.
            let _ = sender.send(());
        });
        self.wait(&receiver, cancel)?;
        self.check()
    }

    /// The bytes of a span, once everything before has run.
    pub(crate) fn download(&self, span: Span, cancel: &CancelToken) -> Result<Vec<u8>> {
        if self.faults().idle {
            return Ok(vec![0; span.length as usize]);
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer(span.length as usize, usage, false)?;
        let mut recorder = lock(&self.recorder);
        recorder.encoder(&self.device).copy_buffer_to_buffer(span.buffer, span.offset, &staging, 0, span.length);
        self.submit(&mut recorder)?;
        drop(recorder);
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = sender.send(result);
        });
        let mapped = self.wait(&receiver, cancel)?;
        self.check()?;
        mapped.map_err(|error| self.error(error.to_string()))?;
        self.keep_compiled();
        let view = staging.get_mapped_range(..).map_err(|error| self.error(error.to_string()))?;
        Ok(view.to_vec())
    }
}
