//! Keys as `ssh-keygen` writes them.

use crate::{KeyError, PublicKey};

pub(super) const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMQqVDnI+49nbsnR6JLcp07XY49iXABNCviFwLjlywu2 ann@laptop";
const ECDSA: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBFObIMokoAIvrFZMbMxEPwTeET04C71zqr0TTMOQVnfUyM+vvjJSTJOicBiyNgaAMRwLX4/7L8FqjGyNCmmRB3xiQaD6P8VUBmr/GF3RUIisZdbcSQK9p7kbPmVjDHsYvA== e";
const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC1yNF84rm6Zf7S7tNVxfNAozVBhtzaVFn/IO0W1N4LXcnX4C25MK4cwz7su2/o2TdMCJgWKS2zRkAegOzEWq2ORr+j2jyZz1V9dnDS/6g5dBbB8Zv5QkgdJED4B38S2eF5PFPCoeXTkyNN3gJFrzb7Ovn6WOv9Tndisgwz+mttZV/L7AYi1J1WeKRd8NFfQUwEEpuJ2Vt7Y+ka7Wi2Nzvx2V4Oe3aiba23VQhSKMmNd+FZwhm08h502jAnUjv6tIPq0mehod0LX8T8L+mv83ZUyNNXfiY26u4yKouSfZJaD9pacJrY0CbBvbN4P+hJfpDfJ7Z+ZyIrgNLBMg8S2Glh r";
const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCpF2BSLHRBmbTAv5K6G6lBPRJuQMetS0p4BlaLE/GBrPCE6W79vHH6JXHlynoyK/vzNreuEUistOuVi3bbb/poe+Pq0GcCuOBD5+6svC6BvePv9ia6VnEKgzrG18g+2JM0ixlL9qexvxw1yKJLP9biHDmrFv8iXD6ioUUZhCte/Q== r";

#[test]
fn good_keys_have_the_fingerprint_that_openssh_shows() {
    let known = [
        (ED25519, "SHA256:hBAp8M7potYnxLfMIA4LRoIujHkkxa89v9FWTFaR5z0", "ssh-ed25519", "ann@laptop"),
        (ECDSA, "SHA256:+jkszcrUWKfEyxxeSekKZjbaIN1z6LF6S9A/jf5IzI8", "ecdsa-sha2-nistp384", "e"),
        (RSA_2048, "SHA256:bu+hSNe2Gq7Hdu+tXlgRpubzjYyY/xvv2ZKP8hQLTqg", "ssh-rsa", "r"),
    ];
    for (text, fingerprint, algorithm, comment) in known {
        let key = PublicKey::parse(&format!("  {text}\n")).unwrap();
        assert_eq!((key.fingerprint(), key.algorithm(), key.comment()), (fingerprint, algorithm, comment));
        assert_eq!(Some(key.openssh()), text.rsplit_once(' ').map(|(bare, _)| bare));
    }
}

#[test]
fn weak_and_foreign_keys_are_refused_with_the_reason() {
    assert_eq!(PublicKey::parse(RSA_1024), Err(KeyError::Short(1024)));
    assert_eq!(PublicKey::parse("ssh-dss AAAAB3NzaC1kc3M x"), Err(KeyError::Algorithm("ssh-dss".into())));
    let hardware = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t x";
    assert!(matches!(PublicKey::parse(hardware), Err(KeyError::Algorithm(_))));
    let certificate = "ssh-ed25519-cert-v01@openssh.com AAAA x";
    assert!(matches!(PublicKey::parse(certificate), Err(KeyError::Algorithm(_))));
    let private =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----";
    assert_eq!(PublicKey::parse(private), Err(KeyError::Private));
    let mut cut = ED25519.to_owned();
    cut.truncate(60);
    for nonsense in ["", "hello", "ssh-ed25519", "ssh-ed25519 !!!!", &cut, &format!("{ED25519}\n{ED25519}")] {
        assert_eq!(PublicKey::parse(nonsense), Err(KeyError::Malformed), "{nonsense}");
    }
    let options = format!("command=\"sh\" {ED25519}");
    assert_eq!(
        PublicKey::parse(&options),
        Err(KeyError::Malformed),
        "options of authorized_keys are not ours"
    );
}
