//! Chance that can be repeated.

/// SplitMix64 (Steele, Lea, Flood 2014), seeded by the environment or the clock.
pub struct Random(u64);

impl Random {
    /// Says the seed: `TIDEMILL_CRASH_SEED=<number>` repeats it.
    pub fn new() -> Random {
        let given = std::env::var("TIDEMILL_CRASH_SEED").ok().map(|seed| seed.parse().expect("TIDEMILL_CRASH_SEED is a number"));
        let seed = given.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
        println!("TIDEMILL_CRASH_SEED={seed}");
        Random(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}
