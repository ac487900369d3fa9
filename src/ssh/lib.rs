//! The SSH front: real git behind russh.
