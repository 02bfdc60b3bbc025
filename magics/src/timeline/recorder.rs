//! Keeping samples of work that may last hours, in memory of a fixed size.

/// Points that the phase of compiling, or of running, keeps at most.
const COMPILING: usize = 120;
const RUNNING: usize = 480;

/// Readings of some values again and again. Where there are more than fit, neighbours are merged two
/// by two, which keeps of each value the highest, so that a spike is never lost; from then on each
/// point stands for twice as many readings.
#[derive(Debug, Clone)]
pub struct Recorder<const WIDTH: usize> {
    capacity: usize,
    /// When each point was begun, in nanoseconds of `CLOCK_MONOTONIC`.
    times: Vec<u64>,
    values: Vec<[Option<u64>; WIDTH]>,
    per_point: u64,
    in_last: u64,
}

impl<const WIDTH: usize> Recorder<WIDTH> {
    /// An empty one for at most `capacity` points, made even.
    pub fn new(capacity: usize) -> Recorder<WIDTH> {
        Recorder {
            capacity: capacity.next_multiple_of(2).max(2),
            times: Vec::new(),
            values: Vec::new(),
            per_point: 1,
            in_last: 0,
        }
    }

    /// Takes note of what was read at `time`, which is not before that of the reading before.
    pub fn push(&mut self, time: u64, values: [Option<u64>; WIDTH]) {
        if let Some(last) = self.values.last_mut()
            && self.in_last < self.per_point
        {
            raise(last, &values);
            self.in_last += 1;
            return;
        }
        if self.times.len() == self.capacity {
            self.merge();
        }
        self.times.push(time);
        self.values.push(values);
        self.in_last = 1;
    }

    /// The points, oldest first, each with the time of its first reading.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (u64, &[Option<u64>; WIDTH])> {
        self.times.iter().copied().zip(&self.values)
    }

    fn merge(&mut self) {
        let half = self.times.len() / 2;
        for index in 0..half {
            let mut merged = self.values[2 * index];
            raise(&mut merged, &self.values[2 * index + 1]);
            self.values[index] = merged;
            self.times[index] = self.times[2 * index];
        }
        self.values.truncate(half);
        self.times.truncate(half);
        self.per_point = self.per_point.saturating_mul(2);
    }
}

fn raise<const WIDTH: usize>(highest: &mut [Option<u64>; WIDTH], values: &[Option<u64>; WIDTH]) {
    for (highest, value) in highest.iter_mut().zip(values) {
        // `None` is smaller than any value.
        *highest = (*highest).max(*value);
    }
}

/// Readings of the two phases of a cell, apart: a point never holds both.
#[derive(Debug, Clone)]
pub struct Phases<const WIDTH: usize> {
    /// Before the user's code.
    pub compiling: Recorder<WIDTH>,
    /// While it ran.
    pub running: Recorder<WIDTH>,
}

impl<const WIDTH: usize> Phases<WIDTH> {
    /// Empty, for readings that come `rate` times as often as those of others with which they
    /// will be put together: they then reach their limit at the same time.
    pub fn new(rate: usize) -> Phases<WIDTH> {
        Phases {
            compiling: Recorder::new(COMPILING * rate),
            running: Recorder::new(RUNNING * rate),
        }
    }
}
