//! Where the memory of a piece of work went: exact peaks of RAM and heap, before, while and after
//! it ran, as records and tables. It knows nothing of Jupyter: [`measure`] is all that a program
//! needs to measure itself.
//!
//! - [`cell`] and [`magic`]: a cell's text, taken apart, and what its magic lines ask for.
//! - [`probe`]: one file for each source of a reading; [`heap`], [`page`], [`worker`] and
//!   [`sampler`]: what counts inside the process and what watches from outside.
//! - [`capture`]: before, the work, after ([`live`]: meanwhile); it ends in a [`record::Record`],
//!   which [`ledger`] keeps and [`budget`] judges.
//! - [`repeat`] and [`warning`]: medians over several runs; what to tell the user at once.
//! - [`timeline`] and [`plot`]: what was used over time, as lines of blocks and as pictures.
//! - [`table`] and [`report`]: what a reader sees, drawn by [`text`], [`html`] and [`markdown`];
//!   [`standalone`] makes a page of it.
//! - [`archive`] and [`compare`]: records read out of files, and runs side by side; [`flat`]: records
//!   for spreadsheets and databases; [`export`]: all of it in the formats of files.
//! - [`environment`] and [`doctor`]: what this machine is and what it lets us measure;
//!   [`cuda_toolkit`]: what of CUDA is installed.

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod archive;
pub mod budget;
pub mod capture;
pub mod cell;
pub mod compare;
pub mod cuda_toolkit;
pub mod doctor;
pub mod environment;
pub mod export;
pub mod flat;
pub mod gpu_facts;
pub mod gpu_watch;
pub mod heap;
pub mod html;
pub mod ledger;
pub mod live;
pub mod magic;
pub mod markdown;
pub mod measure;
pub mod page;
pub mod plot;
pub mod probe;
pub mod record;
pub mod repeat;
pub mod report;
pub mod sampler;
pub mod standalone;
pub mod table;
pub mod text;
pub mod timeline;
pub mod units;
pub mod warning;
pub mod worker;
