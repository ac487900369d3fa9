//! A real server in a temporary folder, and the real clients of a maintainer.

mod client;
mod cluster;
mod load;
mod server;

pub(crate) use client::{Client, Ran};
pub(crate) use cluster::Clustered;
pub(crate) use load::under_load;
pub(crate) use server::{Server, shared};
