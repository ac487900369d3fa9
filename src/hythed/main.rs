//! The server of Hythe.
//!
//! `cli` reads the command line; `serve` wires the rooms together and runs the fronts. This is the only place
//! where adapters meet.

mod backup;
mod check;
mod cli;
mod control;
mod first_run;
mod folders;
mod fronts;
mod glue;
mod keys;
mod listeners;
mod move_rows;
mod roles;
mod rooms;
mod rotate;
mod serve;
mod settings;
mod stack;
mod tls;

use std::process::ExitCode;

/// Gives back what a start or a burst has needed; the system's own keeps it, in a pool for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
