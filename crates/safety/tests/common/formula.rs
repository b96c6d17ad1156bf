//! Numbers by formula (`reference/formula.py`).

/// Pseudo-random numbers in -1..1 of 24 bits: FNV-1a of the name, then SplitMix64.
pub(crate) fn values(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (1..=count as u64).map(move |n| {
        let z = state.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u32 << 24) as f64 * 2.0 - 1.0
    })
}
