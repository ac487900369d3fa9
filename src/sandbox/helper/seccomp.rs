//! The system calls of a sandbox.
//!
//! Enter at [`profile`]. The list is `seccomp.txt` beside this file; calls that depend on an argument are here.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

const ALLOWED: &str = include_str!("seccomp.txt");
/// `CLONE_NEW*` of namespaces, in the flags of `clone`.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
/// What a C library takes as "this kernel is too old for that call" and then makes an older one.
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;
/// `AF_VSOCK`: a socket family that leaves a virtual machine by no network.
const AF_VSOCK: u64 = 40;
/// Bits that a socket family has. A family is let through where it differs from that one in any of them: the kernel drops
/// the upper half of what a filter compares, so that "is not 40" would let 2^32 + 40 through.
const FAMILY_BITS: u32 = 6;
/// Personalities that change nothing that matters: Linux, Linux on 32 bits, with and without short inodes, the query.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile of every sandbox.
pub(super) fn profile() -> Result<LinuxSeccomp, OciSpecError> {
    let mut calls = vec![call(&allowed(), LinuxSeccompAction::ScmpActAllow, None, None)?];
    let without_namespaces = arg(0, CLONE_NAMESPACES, Some(0), LinuxSeccompOperator::ScmpCmpMaskedEq)?;
    calls.push(call(&["clone"], LinuxSeccompAction::ScmpActAllow, None, Some(without_namespaces))?);
    // Its flags are in memory, out of a filter's sight.
    calls.push(call(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), None)?);
    for bit in 0..FAMILY_BITS {
        let differs = arg(0, 1 << bit, Some(!AF_VSOCK & 1 << bit), LinuxSeccompOperator::ScmpCmpMaskedEq)?;
        calls.push(call(&["socket"], LinuxSeccompAction::ScmpActAllow, None, Some(differs))?);
    }
    for personality in PERSONALITIES {
        let value = arg(0, personality, None, LinuxSeccompOperator::ScmpCmpEq)?;
        calls.push(call(&["personality"], LinuxSeccompAction::ScmpActAllow, None, Some(value))?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures())
        .syscalls(calls)
        .build()
}

fn allowed() -> Vec<&'static str> {
    ALLOWED.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect()
}

fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "x86_64") {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]
    } else if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        vec![Arch::ScmpArchNative]
    }
}

fn call(
    names: &[&str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    arg: Option<LinuxSeccompArg>,
) -> Result<LinuxSyscall, OciSpecError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut call = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        call = call.errno_ret(errno);
    }
    if let Some(arg) = arg {
        call = call.args(vec![arg]);
    }
    call.build()
}

fn arg(
    index: usize,
    value: u64,
    second: Option<u64>,
    operator: LinuxSeccompOperator,
) -> Result<LinuxSeccompArg, OciSpecError> {
    let arg = LinuxSeccompArgBuilder::default().index(index).value(value).op(operator);
    match second {
        Some(second) => arg.value_two(second).build(),
        None => arg.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_to_namespaces_keys_or_other_memory() {
        let allowed = allowed();
        let closed = [
            "unshare",
            "setns",
            "mount",
            "clone",
            "clone3",
            "socket",
            "socketcall",
            "keyctl",
            "ptrace",
            "bpf",
            "io_uring_setup",
        ];
        for call in closed {
            assert!(!allowed.contains(&call), "{call}");
        }
        for call in ["read", "openat", "execve", "futex", "socketpair", "getrandom", "epoll_wait", "statx"] {
            assert!(allowed.contains(&call), "{call}");
        }
        let mut once = allowed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), allowed.len(), "a call is listed twice");
        profile().unwrap();
    }

    #[test]
    fn a_socket_of_a_virtual_machines_host_is_no_number_away() {
        let profile = profile().unwrap();
        let calls = profile.syscalls().as_ref().unwrap();
        let rules = calls.iter().filter(|call| call.names().contains(&"socket".to_owned()));
        let args: Vec<_> = rules.map(|call| call.args().as_ref().unwrap()[0]).collect();
        let passes = |family: u64| {
            args.iter().any(|arg| {
                assert_eq!(arg.op(), LinuxSeccompOperator::ScmpCmpMaskedEq);
                family & arg.value() == arg.value_two().unwrap()
            })
        };
        for family in 0..64 {
            assert_eq!(passes(family), family != AF_VSOCK, "{family}");
        }
        assert!(!passes(AF_VSOCK | 1 << 32) && !passes(AF_VSOCK | 1 << 63));
    }
}
