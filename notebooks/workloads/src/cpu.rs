//! The CPU's part: `matrixmultiply` (the BLAS-class kernels of `ndarray`) on one thread a core.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::matmul::TimesTransposed;
use crate::random::unit_f32;
use crate::{Error, memory};

/// Rows of a result that are worth a job of their own.
const SMALLEST_JOB: usize = 64;

/// Cores that this process may use; a container's quota counts.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A vector of `len` floats, each written by `fill`, which gets the index of its part's first.
///
/// Every element is written, so every page is really there: an allocation of zeros would stay
/// untouched, and cost nothing, until someone looks.
fn filled(
    len: usize,
    part: usize,
    what: &str,
    fill: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync,
) -> Result<Vec<f32>, Error> {
    let mut data = allocate(len, what)?;
    let jobs = Mutex::new(
        data.spare_capacity_mut()[..len]
            .chunks_mut(part)
            .enumerate(),
    );
    each(&jobs, |(index, part_of_it)| fill(index * part, part_of_it));
    // SAFETY: the parts cover the first `len` elements, and `fill` writes each element of a part.
    unsafe { data.set_len(len) };
    Ok(data)
}

/// Runs every job of the queue, on all cores.
fn each<Job: Send>(jobs: &Mutex<impl Iterator<Item = Job> + Send>, work: impl Fn(Job) + Sync) {
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                // The lock is given back at the end of `take`, before the work.
                let take = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(job) = take() {
                    work(job);
                }
            });
        }
    });
}

/// Room for `len` floats. Linux promises more than it has and kills later, so this looks first.
fn allocate(len: usize, what: &str) -> Result<Vec<f32>, Error> {
    let needed = 4 * len as u64;
    let too_large = |available, how| Error::TooLarge {
        what: what.to_owned(),
        needed,
        available,
        how,
    };
    // Where the memory at hand is not known, the allocator's own refusal is all there is.
    let available = memory::available_ram().ok();
    if let Some(ram) = &available
        && needed > ram.bytes
    {
        return Err(too_large(ram.bytes, ram.how.clone()));
    }
    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|_| {
        let (bytes, how) = available.map_or((0, String::new()), |ram| (ram.bytes, ram.how));
        too_large(bytes, format!("{how}; the allocator refused"))
    })?;
    Ok(data)
}

/// `len` numbers, uniform in `[0, 1)`, of the seed.
pub(crate) fn rand(len: usize, seed: u64) -> Result<Vec<f32>, Error> {
    filled(len, 1 << 20, "the random tensor", |first, part| {
        fill_rand(seed, first, part);
    })
}

/// Writes the seed's numbers `first`, `first + 1`, … to `part`.
fn fill_rand(seed: u64, first: usize, part: &mut [MaybeUninit<f32>]) {
    for (index, element) in part.iter_mut().enumerate() {
        element.write(unit_f32(seed, (first + index) as u64));
    }
}

/// The seed's numbers from `first` on, `len` of them, for a part of a tensor that lies elsewhere.
pub(crate) fn rand_part(seed: u64, first: usize, len: usize) -> Result<Vec<f32>, Error> {
    filled(
        len,
        1 << 20,
        "a part of the random tensor",
        |offset, part| {
            fill_rand(seed, first + offset, part);
        },
    )
}

/// The product that `call` describes. The buffers must have its sizes.
pub(crate) fn matmul(
    call: &TimesTransposed,
    left: &[f32],
    right: &[f32],
) -> Result<Vec<f32>, Error> {
    assert_eq!(left.len(), call.batch * call.stride_left);
    assert_eq!(right.len(), call.batch * call.stride_right);
    // Whole matrices where the batch keeps all cores busy, else parts of their rows.
    let parts = (4 * threads()).div_ceil(call.batch);
    let columns_a_job = call.n.div_ceil(parts).max(SMALLEST_JOB).min(call.n);
    let len = call.batch * call.stride_result;
    let mut data = allocate(len, "the product")?;
    let jobs = Mutex::new(
        data.spare_capacity_mut()[..len]
            .chunks_mut(call.stride_result)
            .enumerate()
            .flat_map(|(matrix, result)| {
                let parts = result
                    .chunks_mut(columns_a_job * call.ld_result)
                    .enumerate();
                parts.map(move |(part, result)| (matrix, part * columns_a_job, result))
            }),
    );
    each(&jobs, |(matrix, first, result)| {
        let right = &right[matrix * call.stride_right..][..call.stride_right];
        let left = &left[matrix * call.stride_left..][..call.stride_left];
        let columns = result.len() / call.ld_result;
        let left = &left[first * call.ld_left..][..columns * call.ld_left];
        // SAFETY: `result` holds `columns` columns of m = ld_result elements, `left` as many of
        // k = ld_left and `right` m rows of k = ld_right; with the strides below every access is
        // in them. beta = 0: what is in the result is not read, as `sgemm` promises.
        unsafe {
            matrixmultiply::sgemm(
                call.m,
                call.k,
                columns,
                1.0,
                right.as_ptr(),
                call.ld_right as isize, // transposed: the next row is a column of the buffer on
                1,
                left.as_ptr(),
                1,
                call.ld_left as isize,
                0.0,
                result.as_mut_ptr().cast(),
                1,
                call.ld_result as isize,
            );
        }
    });
    // SAFETY: the jobs cover the first `len` elements, and `sgemm` writes each of its result.
    unsafe { data.set_len(len) };
    Ok(data)
}

/// Sum in f64, the same whatever the number of threads.
pub(crate) fn sum(data: &[f32]) -> f64 {
    let parts: Vec<&[f32]> = data.chunks(1 << 20).collect();
    let sums = Mutex::new(vec![0.0; parts.len()]);
    each(
        &Mutex::new(parts.into_iter().enumerate()),
        |(index, part)| {
            let sum = part.iter().map(|&value| f64::from(value)).sum::<f64>();
            sums.lock().unwrap_or_else(PoisonError::into_inner)[index] = sum;
        },
    );
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    sums.iter().sum()
}

/// Floating point operations a second that a trial product reaches.
///
/// The best of three, each some 10 ms long, with 6 MiB for each core: what else runs at the moment
/// should not decide, as it may be gone in a second.
pub(crate) fn measured_speed() -> Result<f64, Error> {
    let shape = [8 * threads(), 320, 320];
    let call = TimesTransposed::new(shape, shape)?;
    let tensor = rand(call.batch * call.stride_left, 0)?;
    let mut best: f64 = 0.0;
    for _ in 0..3 {
        let start = Instant::now();
        let product = matmul(&call, &tensor, &tensor)?;
        best = best.max(call.operations() / start.elapsed().as_secs_f64());
        drop(product);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_random_tensor_has_its_own_numbers() {
        let len = (5 << 19) + 3;
        let expected: Vec<f32> = (0..len).map(|index| unit_f32(9, index as u64)).collect();
        assert!(rand(len, 9).unwrap() == expected);
        assert!(rand_part(9, 1000, len - 1000).unwrap() == expected[1000..]);
    }
}
