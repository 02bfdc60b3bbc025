//! memtrack-kernel: a Rust kernel for Jupyter that shows where memory went.
//!
//! One binary in four parts. Started by evcxr it is the process that runs the cells, or stands in
//! for rustc; started by Jupyter it is the kernel; started by a person it installs the kernel,
//! runs a notebook, reports on executed ones, or tells what can be measured here.

#![deny(unsafe_code)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator;
mod answers;
mod assist;
mod bundle;
mod cache_lock;
mod cargo_config;
mod cargo_stand_in;
mod carried;
mod cell_compile;
mod cell_source;
mod child;
mod compare;
mod compile_error;
mod connection_file;
mod death;
mod dep_info;
mod descriptors;
mod doctor;
mod engine;
mod exit;
mod files;
mod guard;
mod history;
mod incoming;
mod install;
mod install_rust;
mod interrupt;
mod iopub;
mod is_complete;
mod jupyter;
mod kernel_info;
mod last_words;
mod link;
mod live;
mod magic_help;
mod out_of_memory;
mod output;
mod pins;
mod progress;
mod recipes;
mod registry;
mod report;
mod run;
mod screen;
mod server;
mod session;
mod session_thread;
mod shared_name;
mod show;
mod source_paths;
mod std_outline;
mod std_source;
mod stream;
mod support;
mod terminal;
mod toolchain;
mod type_probe;
mod types;
mod usage;
mod variables;
mod verdict;
mod warm;
mod wire;
mod workdir;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// A Rust kernel for Jupyter that shows where memory went.
#[derive(Parser)]
#[command(name = "memtrack-kernel", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the kernel, so that Jupyter lists it as "Rust (memtrack)".
    Install(install::InstallArgs),
    /// Remove the installed kernel.
    Uninstall(install::UninstallArgs),
    /// Install Rust for this user by rustup, or what is missing of it, after asking.
    InstallRust(install_rust::InstallRustArgs),
    /// Execute a notebook here, with no Jupyter, and print what its cells show.
    Run(run::RunArgs),
    /// Tell what the tracked cells of executed notebooks used: of one, or of hundreds.
    Report(report::ReportArgs),
    /// Compare executed notebooks, such as one notebook run on two machines.
    Compare(compare::CompareArgs),
    /// Compile ahead what notebooks depend on, so that their first cells need not wait for it.
    Warm(warm::WarmArgs),
    /// Write compiled dependencies into one file, for machines without a network or in a hurry.
    Bundle(bundle::BundleArgs),
    /// Restore what `bundle` has written.
    Unbundle(bundle::UnbundleArgs),
    /// Tell what can be measured on this machine, what cannot, and why.
    Doctor,
    /// Serve one session. Jupyter calls this.
    #[command(hide = true)]
    Kernel {
        /// The connection file that Jupyter wrote.
        connection_file: PathBuf,
    },
}

/// What a session is made of.
pub struct Parts {
    link: Arc<link::Link>,
    interrupter: Arc<interrupt::Interrupter>,
    work_dir: Arc<workdir::WorkDir>,
    progress_socket: Arc<UnixDatagram>,
}

impl Parts {
    /// Sets environment variables, so this comes before the first thread.
    fn new() -> Result<Parts> {
        toolchain::extend_path();
        let work_dir = workdir::WorkDir::create()?;
        let progress_socket = progress::Progress::open(work_dir.path())?;
        let link = Arc::new(link::Link::new()?);
        Ok(Parts {
            interrupter: Arc::new(interrupt::Interrupter::new(Arc::clone(&link))),
            link,
            work_dir: Arc::new(work_dir),
            progress_socket: Arc::new(progress_socket),
        })
    }
}

fn main() -> ExitCode {
    // Before anything else: this process may not be the kernel at all.
    if child::is_wanted() {
        child::run();
    }
    cargo_stand_in::stand_in();
    answers::answer();
    source_paths::become_rustc();
    source_paths::make_relative();
    progress::report_compilation();
    cell_compile::as_rustc();
    shared_name::give();
    cache_lock::wait_for_turn();
    dep_info::mend_at_exit();
    evcxr::runtime_hook();

    let result = match Arguments::parse().command {
        Task::Install(arguments) => install::install(arguments).map(|()| ExitCode::SUCCESS),
        Task::Uninstall(arguments) => install::uninstall(arguments).map(|()| ExitCode::SUCCESS),
        Task::Run(arguments) => Parts::new().and_then(|parts| run::run(arguments, parts)),
        Task::Report(arguments) => report::report(&arguments),
        Task::Compare(arguments) => compare::compare(&arguments),
        Task::Warm(arguments) => Parts::new().and_then(|parts| warm::warm(arguments, parts)),
        Task::Bundle(arguments) => bundle::bundle(arguments, Parts::new),
        Task::Unbundle(arguments) => bundle::unbundle(arguments),
        Task::InstallRust(arguments) => {
            install_rust::install_rust(arguments).map(|()| ExitCode::SUCCESS)
        }
        Task::Doctor => doctor::doctor().map(|()| ExitCode::SUCCESS),
        Task::Kernel { connection_file } => {
            Parts::new().and_then(|parts| serve(connection_file, parts))
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("memtrack-kernel: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(connection_file: PathBuf, parts: Parts) -> Result<ExitCode> {
    let work_dir = Arc::clone(&parts.work_dir);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    let result = runtime.block_on(server::serve(&connection_file, parts));
    work_dir.remove();
    result?;
    // Without waiting for threads: one of them may be inside rust-analyzer for seconds.
    std::process::exit(0)
}
