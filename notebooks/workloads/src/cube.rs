//! Picks the size of a cube so that two of them fit the memory, and the work the patience.

use std::fmt;

use crate::device::Device;
use crate::memory::Available;
use crate::{Error, bytes_of, words_of_bytes};

/// Of the available memory, so much may be used: the rest is for the compiler, the CUDA libraries'
/// own buffers and whatever else runs.
const SHARE_OF_RAM: f64 = 0.75;
const SHARE_OF_VRAM: f64 = 0.9;

/// Seconds that the product may take on a CPU. A GPU needs none of such a limit: what fits in its
/// memory is done in seconds.
const PATIENCE_S: f64 = 60.0;

/// A cube's side, and why it is that. Its `Display` says both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cube {
    /// The side: a tensor of `[n, n, n]`.
    pub n: usize,
    /// The side that was asked for.
    pub wanted: usize,
    /// Why `n`, in words.
    pub reason: String,
}

impl Cube {
    /// `[n, n, n]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.n; 3]
    }

    /// Bytes of one tensor of this shape.
    pub fn bytes(&self) -> u64 {
        bytes_of(self.shape())
    }
}

impl fmt::Display for Cube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cube { n, wanted, reason } = self;
        if n == wanted {
            write!(f, "n = {n}: {reason}")
        } else {
            write!(f, "n = {n} instead of {wanted}: {reason}")
        }
    }
}

/// What limits the size.
#[derive(Debug, Clone)]
struct Limits {
    available: Available,
    share: f64,
    /// Operations a second, where the time is limited too.
    speed: Option<f64>,
}

/// The largest cube on this device, with a side of `wanted` or some eighths of it, of which two fit
/// the memory at hand: the tensor and its product.
///
/// On the CPU the product must also take less than a minute, by a trial of some 50 ms: then even on a
/// machine that is busy with other work a notebook ends within minutes.
///
/// # Errors
/// Where even an eighth does not fit, or the memory at hand is not known.
pub fn fitting_cube(device: &Device, wanted: usize) -> Result<Cube, Error> {
    let limits = Limits {
        available: device.available()?,
        share: if device.is_gpu() {
            SHARE_OF_VRAM
        } else {
            SHARE_OF_RAM
        },
        speed: match device.is_gpu() {
            true => None,
            false => Some(crate::cpu::measured_speed()?),
        },
    };
    pick(wanted, &limits)
}

fn pick(wanted: usize, limits: &Limits) -> Result<Cube, Error> {
    if wanted == 0 {
        return Err(Error::BadShape {
            shape: [0; 3],
            reason: "a side must be at least 1",
        });
    }
    let mut objections = Vec::new();
    for eighths in (1..=8).rev() {
        let n = (wanted * eighths / 8).max(1);
        match objection(n, limits) {
            Some(objection) => objections.push(objection),
            None => {
                // What stood in the way of the size that was asked for, if something did.
                let first = objections.into_iter().next();
                let reason = first.unwrap_or_else(|| fits(n, limits));
                return Ok(Cube { n, wanted, reason });
            }
        }
    }
    Err(Error::NothingFits {
        wanted,
        reason: objections.pop().unwrap_or_default(),
    })
}

/// Why a side of `n` is too long, if it is.
fn objection(n: usize, limits: &Limits) -> Option<String> {
    let one = bytes_of([n; 3]);
    let usable = limits.available.bytes as f64 * limits.share;
    if 2.0 * one as f64 > usable {
        return Some(format!(
            "with {n}, two tensors of {} would not fit the {} that may be used, {} % of {} ({})",
            words_of_bytes(one),
            words_of_bytes(usable as u64),
            (limits.share * 100.0).round(),
            words_of_bytes(limits.available.bytes),
            limits.available.how,
        ));
    }
    let speed = limits.speed?;
    let seconds = 2.0 * (n as f64).powi(4) / speed;
    (seconds > PATIENCE_S).then(|| {
        format!(
            "with {n}, the product would take {seconds:.0} s at the {:.0} GFLOP/s that a trial \
             reached on this CPU, more than {PATIENCE_S} s",
            speed / 1e9
        )
    })
}

fn fits(n: usize, limits: &Limits) -> String {
    let memory = format!(
        "two tensors of {} fit {} ({})",
        words_of_bytes(bytes_of([n; 3])),
        words_of_bytes(limits.available.bytes),
        limits.available.how
    );
    match limits.speed {
        None => memory,
        Some(speed) => format!(
            "{memory}, and the product takes some {:.1} s at the {:.0} GFLOP/s that a trial \
             reached on this CPU",
            2.0 * (n as f64).powi(4) / speed,
            speed / 1e9
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn limits(bytes: u64, speed: Option<f64>) -> Limits {
        Limits {
            available: Available {
                bytes,
                how: "by hand".to_owned(),
            },
            share: 0.75,
            speed,
        }
    }

    fn side(bytes: u64, speed: Option<f64>) -> usize {
        pick(1024, &limits(bytes, speed)).unwrap().n
    }

    #[test]
    fn two_tensors_must_fit_the_share() {
        // Two tensors of 4 GiB are three quarters of 32/3 GiB.
        assert_eq!(side(11 * GIB, None), 1024);
        assert_eq!(side(32 * GIB / 3 + 1, None), 1024);
        assert_eq!(side(32 * GIB / 3 - 1, None), 896);
        // 640³ · 4 · 2 = 1.95 GiB of 3 GiB · 0.75 = 2.25 GiB; 768³ · 8 = 3.4 GiB.
        assert_eq!(side(3 * GIB, None), 640);
        assert_eq!(side(22 << 20, None), 128);
    }

    #[test]
    fn the_time_limits_too_and_is_named() {
        // 2 · 1024⁴ = 2.2e12 operations: 60 s at 36.7 GFLOP/s.
        assert_eq!(side(64 * GIB, Some(40e9)), 1024);
        let cube = pick(1024, &limits(64 * GIB, Some(30e9))).unwrap();
        assert_eq!(cube.n, 896);
        let words = cube.to_string();
        assert!(words.starts_with("n = 896 instead of 1024: "), "{words}");
        assert!(
            words.contains("73 s") && words.contains("30 GFLOP/s"),
            "{words}"
        );
    }

    #[test]
    fn the_words_name_the_first_obstacle() {
        let words = pick(1024, &limits(3 * GIB, None)).unwrap().to_string();
        assert_eq!(
            words,
            "n = 640 instead of 1024: with 1024, two tensors of 4.00 GiB would not fit the \
             2.25 GiB that may be used, 75 % of 3.00 GiB (by hand)"
        );
        let words = pick(1024, &limits(64 * GIB, None)).unwrap().to_string();
        assert_eq!(
            words,
            "n = 1024: two tensors of 4.00 GiB fit 64.0 GiB (by hand)"
        );
    }

    #[test]
    fn nothing_fits_is_an_error_that_says_what_to_do() {
        let error = pick(1024, &limits(1 << 20, None)).unwrap_err().to_string();
        assert!(
            error.contains("with 128, two tensors of 8.00 MiB"),
            "{error}"
        );
        assert!(error.contains("free memory"), "{error}");
        assert!(pick(0, &limits(GIB, None)).is_err());
    }

    #[test]
    fn a_small_side_stays_at_least_one() {
        assert_eq!(pick(3, &limits(GIB, None)).unwrap().n, 3);
        assert_eq!(pick(3, &limits(15, None)).unwrap().n, 1);
        assert!(pick(3, &limits(10, None)).is_err());
    }
}
