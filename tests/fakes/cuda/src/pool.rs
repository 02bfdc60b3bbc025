//! A stream-ordered memory pool: what is in use, what is reserved, and the marks of both.

/// A pool takes memory from the device in pieces of so many bytes.
pub const PIECE: u64 = 2 << 20;

/// A pool. All numbers are bytes.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// The visible device it takes memory from.
    pub device: usize,
    used: u64,
    used_high: u64,
    reserved: u64,
    reserved_high: u64,
    /// What it keeps at a synchronization although it is free.
    pub threshold: u64,
    /// The three `REUSE_*` attributes, as set; they change nothing here.
    pub reuse: [i32; 3],
}

impl Pool {
    /// An empty pool with CUDA's defaults.
    pub fn new(device: usize) -> Self {
        Self {
            device,
            reuse: [1; 3],
            ..Self::default()
        }
    }

    /// What it must reserve beyond what it has, to have `size` more in use.
    pub fn lacks(&self, size: u64) -> u64 {
        let needed = self.used.saturating_add(size).saturating_sub(self.reserved);
        needed.checked_next_multiple_of(PIECE).unwrap_or(u64::MAX)
    }

    /// Has `size` more in use; the device has given what was lacking.
    pub fn allocate(&mut self, size: u64) {
        self.reserved += self.lacks(size);
        self.used += size;
        self.reserved_high = self.reserved_high.max(self.reserved);
        self.used_high = self.used_high.max(self.used);
    }

    /// Has `size` less in use. It stays reserved.
    pub fn free(&mut self, size: u64) {
        self.used -= size;
    }

    /// Gives back what is free and more than `keep`.
    pub fn trim(&mut self, keep: u64) {
        let keep = keep
            .max(self.used)
            .checked_next_multiple_of(PIECE)
            .unwrap_or(u64::MAX);
        self.reserved = self.reserved.min(keep);
    }

    /// What happens at a synchronization.
    pub fn synchronize(&mut self) {
        self.trim(self.threshold);
    }

    /// In use now.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Most in use since the last reset.
    pub fn used_high(&self) -> u64 {
        self.used_high
    }

    /// Reserved now.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Most reserved since the last reset.
    pub fn reserved_high(&self) -> u64 {
        self.reserved_high
    }

    /// The mark of what is in use takes on the current value.
    pub fn reset_used_high(&mut self) {
        self.used_high = self.used;
    }

    /// The mark of what is reserved takes on the current value.
    pub fn reset_reserved_high(&mut self) {
        self.reserved_high = self.reserved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_exact_and_start_again_from_the_current_use() {
        let mut pool = Pool::new(0);
        pool.allocate(100);
        pool.allocate(PIECE);
        assert_eq!((pool.used(), pool.reserved()), (PIECE + 100, 2 * PIECE));
        pool.free(PIECE);
        assert_eq!((pool.used(), pool.used_high()), (100, PIECE + 100));
        pool.reset_used_high();
        assert_eq!(pool.used_high(), 100);
        pool.allocate(1);
        assert_eq!(pool.used_high(), 101);
    }

    #[test]
    fn free_memory_stays_reserved_until_synchronized() {
        let mut pool = Pool::new(0);
        pool.allocate(5 * PIECE);
        pool.free(5 * PIECE);
        assert_eq!(pool.reserved(), 5 * PIECE);
        assert_eq!(pool.lacks(5 * PIECE), 0);
        pool.threshold = 3 * PIECE - 1;
        pool.synchronize();
        assert_eq!(
            (pool.reserved(), pool.reserved_high()),
            (3 * PIECE, 5 * PIECE)
        );
        pool.threshold = 0;
        pool.synchronize();
        pool.reset_reserved_high();
        assert_eq!((pool.reserved(), pool.reserved_high()), (0, 0));
    }
}
