//! Sealed values, and what happens when somebody changes them.

use super::*;
use secrecy::{ExposeSecret, SecretString};
use std::os::unix::fs::PermissionsExt;

fn secret() -> SecretString {
    SecretString::from("hunter2 and more")
}

#[test]
fn what_is_sealed_opens_for_the_same_tool_and_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::load(dir.path()).unwrap();
    let sealed = ring.seal(&tool("weather"), "TOKEN", &secret()).unwrap();
    assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    assert_ne!(sealed, ring.seal(&tool("weather"), "TOKEN", &secret()).unwrap(), "a nonce each");
    let opened = ring.open(&tool("weather"), "TOKEN", &sealed).unwrap();
    assert_eq!(opened.expose_secret(), secret().expose_secret());
    for (name, key) in [("quotes", "TOKEN"), ("weather", "OTHER"), ("weather", "")] {
        assert!(matches!(ring.open(&tool(name), key, &sealed), Err(SealError::Refused)), "{name} {key}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::load(dir.path()).unwrap();
    let sealed = ring.seal(&tool("weather"), "TOKEN", &secret()).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(ring.open(&tool("weather"), "TOKEN", &changed).is_err(), "byte {at}");
        assert!(ring.open(&tool("weather"), "TOKEN", &sealed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_rotation_keeps_old_values_open_until_they_are_retired() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::load(dir.path()).unwrap();
    let old = ring.seal(&tool("weather"), "TOKEN", &secret()).unwrap();
    assert!(!ring.is_outdated(&old));
    let clone = ring.clone();
    assert_eq!(clone.rotate().unwrap(), 2);
    assert!(ring.is_outdated(&old), "clones share the rotation");
    let new = ring.seal(&tool("weather"), "TOKEN", &secret()).unwrap();
    assert!(!ring.is_outdated(&new) && ring.is_outdated(&[]));

    let again = KeyRing::load(dir.path()).unwrap();
    for sealed in [&old, &new] {
        let opened = again.open(&tool("weather"), "TOKEN", sealed).unwrap();
        assert_eq!(opened.expose_secret(), secret().expose_secret());
    }
    assert_eq!(again.retire_old().unwrap(), 2);
    let last = KeyRing::load(dir.path()).unwrap();
    assert!(matches!(last.open(&tool("weather"), "TOKEN", &old), Err(SealError::UnknownKey(1))));
    assert!(last.open(&tool("weather"), "TOKEN", &new).is_ok());
    assert_eq!(last.rotate().unwrap(), 3, "a number is never used twice");
}

#[test]
fn the_key_file_is_private_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let ring = KeyRing::load(&keys).unwrap();
    let path = keys.join("sealing.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let key = text.split('"').rfind(|part| part.len() == 44).expect("a key of 32 bytes");
    assert!(!format!("{ring:?}").contains(key), "no key in Debug");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(KeyRing::load(&keys), Err(SealError::Exposed { .. })));
    for broken in ["", "{}", "{\"keys\":[]}", "{\"keys\":[{\"number\":1,\"key\":\"AAAA\"}]}"] {
        std::fs::write(&path, broken).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(KeyRing::load(&keys), Err(SealError::Read { .. })), "{broken}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), broken, "a broken ring is never replaced");
    }
}
