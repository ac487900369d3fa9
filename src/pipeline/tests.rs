//! The story with real rows, repositories and logs, and a runtime that does as a test says.

mod bed;
mod left;
mod masks;

use bed::{Bed, live, weather};
