//! Records in files: read, reported, compared and written.

mod archive;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod written;
