//! A picture decoded in bands is that decoded whole.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use calotype_models::{TinyBlocks, VaeConfig, VaeDecoder};
use calotype_tensor::{Backend, cpu::Cpu, reference::Reference};
use common::{Formula, assert_close, tensor};

fn check<B: Backend>(b: &B) {
    // Bands of 8 rows of latents in the second, of 16 in the third; of 32 in the last, which is a band alone.
    for (channels, height) in [(&[4, 6, 8][..], 21), (&[4, 6, 8], 25), (&[4, 6], 17), (&[4], 32)] {
        let config = VaeConfig { norm_num_groups: 2, ..VaeConfig::with_channels(channels) };
        let decoder: VaeDecoder<B::Param> = config.init_decoder(b, &mut Formula).unwrap();
        // Rows that differ, so that the norms of bands differ from that of the whole.
        let (shape, mut data) = tensor("x", &[1, height, 5, 4]);
        data.iter_mut().enumerate().for_each(|(i, x)| *x = *x * (i / 20) as f32 * 0.2 - (i / 20) as f32 * 0.1);
        let latents = b.from_f32(shape, data).unwrap();
        let whole = decoder.forward(b, &latents, false).unwrap();
        let tiled = decoder.forward_tiled(b, &latents).unwrap();
        assert_eq!(b.shape(&tiled), b.shape(&whole));
        assert_close(&format!("{channels:?}"), &b.to_f32(&tiled).unwrap(), &b.to_f32(&whole).unwrap(), 1e-5);
    }
}

/// Bands of three times the rows that are seen around them.
fn check_tiny<B: Backend>(b: &B) {
    for (blocks, height) in [(vec![1, 1], 43), (vec![0, 1], 20), (vec![1, 0, 0], 60)] {
        let tiny = TinyBlocks { encoder: blocks.clone(), decoder_channels: vec![6; blocks.len()], decoder: blocks };
        let config = VaeConfig::with_tiny_blocks(tiny, 4);
        assert!(config.band_rows().unwrap() < height + 30);
        let decoder: VaeDecoder<B::Param> = config.init_decoder(b, &mut Formula).unwrap();
        let (shape, data) = tensor("x", &[1, height, 5, 4]);
        let latents = b.from_f32(shape, data).unwrap();
        let whole = decoder.forward(b, &latents, false).unwrap();
        let tiled = decoder.forward_tiled(b, &latents).unwrap();
        assert_eq!(b.shape(&tiled), b.shape(&whole));
        assert_close("tiny", &b.to_f32(&tiled).unwrap(), &b.to_f32(&whole).unwrap(), 1e-5);
    }
}

#[test]
fn in_bands_is_as_whole() {
    check_tiny(&Reference::<f32>::default());
    check_tiny(&Cpu::new(2).unwrap());
    check(&Reference::<f32>::default());
    check(&Cpu::new(2).unwrap());
}

#[test]
fn one_picture_at_a_time() {
    let b = Reference::<f32>::default();
    let config = VaeConfig { norm_num_groups: 2, ..VaeConfig::with_channels(&[4]) };
    let (shape, data) = tensor("x", &[2, 4, 4, 4]);
    let decoder = config.init_decoder(&b, &mut Formula).unwrap();
    let error = decoder.forward_tiled(&b, &b.from_f32(shape, data).unwrap()).map(drop).unwrap_err();
    assert!(error.to_string().contains("expected (1, 4, 4, 4)"), "{error}");
}
