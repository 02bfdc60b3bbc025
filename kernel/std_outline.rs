use crate::toolchain::Toolchain;
use std::path::{Path, PathBuf};
pub fn provide(_cache: &Path, _toolchain: &Toolchain) -> anyhow::Result<PathBuf> {
    Ok("/tmp/s5/p_tbdma".into())
}
