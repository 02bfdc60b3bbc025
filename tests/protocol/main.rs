//! A front end that speaks Jupyter's protocol to the real kernel over real ZeroMQ, and scripts for
//! it: what must come back, in which order, also when cells fail, when frames are garbage, and
//! when the kernel is interrupted or ends.
//!
//! A start of evcxr takes seconds, so each test is a group of scripts for one kernel.

mod frontend;
mod inbox;
mod processes;
mod receive;

mod abort;
mod failures;
mod hostile;
mod interrupt;
mod outputs;
mod queries;
mod quick;
mod requests;
mod shutdown;
mod startup;
mod stdin;
