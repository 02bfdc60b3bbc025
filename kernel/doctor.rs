//! `memtrack-kernel doctor`: what can be measured on this machine, what not, and why.

use anyhow::Result;
use memtrack::doctor::{host_checks, render_text};
use memtrack::environment::Environment;

use crate::toolchain::Toolchain;

/// Prints the checks.
///
/// # Errors
/// None today; a command returns a result.
pub fn doctor() -> Result<()> {
    let toolchain = Toolchain::find();
    let environment = environment(&toolchain);
    let heap = cfg!(all(target_os = "linux", target_env = "gnu"));
    let checks = host_checks(None, Some(heap));
    println!("{}", render_text(&checks, &environment));
    let problems = toolchain.problems();
    if problems.is_empty() {
        let version = toolchain
            .rustc_version
            .as_deref()
            .unwrap_or("unknown version");
        println!("Rust toolchain: complete ({version}).");
    } else {
        println!("Rust toolchain:\n{}", problems.join("\n"));
    }
    Ok(())
}

/// The machine's fingerprint, with what only the kernel knows.
pub fn environment(toolchain: &Toolchain) -> Environment {
    let mut extra = serde_json::Map::new();
    extra.insert("memtrack".into(), env!("CARGO_PKG_VERSION").into());
    extra.insert("rustc".into(), toolchain.rustc_version.clone().into());
    Environment::detect(extra)
}
