//! The static buildpack: a folder of files, served by a small web server.
//!
//! The program is buildpack and server in one, told apart by the name that it is called by: the build copies it into a
//! launch layer as `static-server`. It never runs what it serves.

mod buildpack;
mod path;
mod range;
mod response;
mod serve;
mod types;

use std::path::Path;

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == buildpack::SERVER) {
        serve::main();
    } else {
        libcnb::libcnb_runtime(&buildpack::StaticBuildpack);
    }
}
