//! The bytes of device memory: a memfd that is read and written, and never mapped.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use crate::Address;

/// First device address: beyond what Linux on x86-64 or AArch64 gives a program that does not ask.
const BASE: Address = 1 << 55;
/// Addresses are multiples of this, so that each allocation has its own pages.
const ALIGNMENT: u64 = 4096;
/// Bytes copied at a time.
const CHUNK: usize = 16 << 10;

/// Device memory of the process, of all devices.
pub struct Vram {
    file: File,
    next: Address,
}

impl Vram {
    /// Empty memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a name that ends with a zero and known flags.
        let fd = unsafe { libc::memfd_create(c"fake-vram".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else has.
        let file = unsafe { File::from_raw_fd(fd) };
        Ok(Self { file, next: BASE })
    }

    /// Addresses for `size` bytes. None is ever used again, so that a use after free is noticed.
    pub fn addresses(&mut self, size: u64) -> Address {
        let address = self.next;
        // A page more than needed, so that the end of one allocation is not the next one.
        self.next += size.next_multiple_of(ALIGNMENT) + ALIGNMENT;
        address
    }

    /// Makes `size` bytes zero and gives back their room.
    pub fn clear(&self, address: Address, size: u64) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (offset, length) = ((address - BASE) as i64, size as i64);
        // SAFETY: a call on our own file.
        match unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Fills `size` bytes with repetitions of `pattern`, whose length divides [`CHUNK`].
    pub fn fill(&self, address: Address, pattern: &[u8], size: u64) -> io::Result<()> {
        if pattern.iter().all(|&byte| byte == 0) {
            return self.clear(address, size);
        }
        let mut bytes = [0; CHUNK];
        for piece in bytes.chunks_exact_mut(pattern.len()) {
            piece.copy_from_slice(pattern);
        }
        for start in (0..size).step_by(CHUNK) {
            let length = (size - start).min(CHUNK as u64) as usize;
            // SAFETY: `bytes` has as many.
            unsafe { self.write(address + start, bytes.as_ptr(), length)? };
        }
        Ok(())
    }

    /// Copies within device memory; the two ranges must not overlap.
    pub fn copy(&self, to: Address, from: Address, size: u64) -> io::Result<()> {
        let mut bytes = [0; CHUNK];
        for start in (0..size).step_by(CHUNK) {
            let length = (size - start).min(CHUNK as u64) as usize;
            // SAFETY: `bytes` has room for as many.
            unsafe {
                self.read(from + start, bytes.as_mut_ptr(), length)?;
                self.write(to + start, bytes.as_ptr(), length)?;
            }
        }
        Ok(())
    }

    /// Copies from host to device memory.
    ///
    /// # Safety
    /// `from` is where the caller's program has `size` bytes. (An address without memory is an
    /// error, not a fault.)
    pub unsafe fn write(&self, to: Address, from: *const u8, size: usize) -> io::Result<()> {
        let mut done = 0;
        while done < size {
            let offset = (to - BASE) as i64 + done as i64;
            let (fd, left) = (self.file.as_raw_fd(), size - done);
            // SAFETY: within the caller's bytes.
            match unsafe { libc::pwrite(fd, from.add(done).cast(), left, offset) } {
                more @ 1.. => done += more as usize,
                _ => return Err(io::Error::last_os_error()),
            }
        }
        Ok(())
    }

    /// Copies from device to host memory.
    ///
    /// # Safety
    /// `to` is where the caller's program has room for `size` bytes. (An address without memory is
    /// an error, not a fault.)
    pub unsafe fn read(&self, from: Address, to: *mut u8, size: usize) -> io::Result<()> {
        let mut done = 0;
        while done < size {
            let offset = (from - BASE) as i64 + done as i64;
            let (fd, left) = (self.file.as_raw_fd(), size - done);
            // SAFETY: within the caller's room.
            match unsafe { libc::pread(fd, to.add(done).cast(), left, offset) } {
                more @ 1.. => done += more as usize,
                // Nothing was ever written from here on.
                0 => {
                    // SAFETY: as above.
                    unsafe { to.add(done).write_bytes(0, left) };
                    done = size;
                }
                _ => return Err(io::Error::last_os_error()),
            }
        }
        Ok(())
    }
}
