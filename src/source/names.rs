//! Names of files that are refused, and the keys under which two names are one.

use crate::findings::Kind;
use unicode_normalization::UnicodeNormalization;

/// The longest name of one file, in bytes, that Linux file systems take.
pub(crate) const NAME_BYTES: usize = 255;

/// Why a single name is refused, if it is.
pub(crate) fn judge(name: &[u8]) -> Option<Kind> {
    let Ok(text) = std::str::from_utf8(name) else { return Some(Kind::NotUtf8) };
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
        return Some(Kind::HostileName);
    }
    if is_git_lookalike(text) {
        return Some(Kind::GitLookalike);
    }
    if text.chars().any(|c| c.is_control() || is_direction(c)) {
        return Some(Kind::InvisibleCharacter);
    }
    if is_device(text) {
        return Some(Kind::DeviceName);
    }
    None
}

/// Whether some file system takes this name for `.git`.
///
/// HFS+ ignores invisible characters and case; NTFS drops trailing dots and spaces, has short names (`GIT~1`) and
/// streams (`.git::$INDEX_ALLOCATION`). A backslash separates there too.
fn is_git_lookalike(name: &str) -> bool {
    name.split('\\').any(|part| {
        let part = part.split(':').next().unwrap_or_default();
        let folded: String = part.nfkc().filter(|c| !is_ignorable(*c)).flat_map(char::to_lowercase).collect();
        let folded = folded.trim_end_matches(['.', ' ']);
        let short = folded
            .strip_prefix("git~")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        folded == ".git" || short
    })
}

/// Whether Windows takes this name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end_matches(' ').to_lowercase();
    if matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" | "clock$") {
        return true;
    }
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    numbered.is_some_and(|n| {
        let mut digits = n.chars();
        let digit = digits.next().is_some_and(|c| matches!(c, '1'..='9' | '¹' | '²' | '³'));
        digit && digits.next().is_none()
    })
}

/// Characters that turn the direction of the text around them.
pub(crate) fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// Characters that HFS+ leaves out of account when it compares names, and others that cannot be seen.
fn is_ignorable(c: char) -> bool {
    is_direction(c)
        || matches!(c, '\u{200b}'..='\u{200d}' | '\u{206a}'..='\u{206f}' | '\u{2060}' | '\u{feff}' | '\u{00ad}')
}

/// Whether a character would not be seen in a message.
pub(crate) fn is_invisible(c: char) -> bool {
    is_ignorable(c)
}

/// Names with the same key look the same: canonically equivalent, or different by invisible characters.
pub(crate) fn look(name: &str) -> String {
    name.chars().filter(|c| !is_ignorable(*c)).nfc().collect()
}

/// Names with the same key are one file where case is not told apart.
pub(crate) fn fold(name: &str) -> String {
    // Upper before lower, so that letters with several lower-case forms fall together (as in "ς" and "σ").
    let upper: String = look(name).chars().flat_map(char::to_uppercase).collect();
    upper.chars().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imitations_of_git_are_found() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~2",
            ".git ",
            ".git.",
            ".git...",
            ".git::$INDEX_ALLOCATION",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".git:stream",
            "a\\.git",
            ".git\\config",
            "\u{ff0e}git",
        ] {
            assert_eq!(judge(name.as_bytes()), Some(Kind::GitLookalike), "{name:?}");
        }
        for name in [".gitignore", ".gitmodules", ".github", "git", "git~", "git~x", "dotgit", ".gitkeep"] {
            assert_eq!(judge(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn devices_are_found_with_any_extension() {
        for name in ["con", "AUX", "nul.txt", "Com1", "lpt9.tar.gz", "com¹", "prn .c", "CONIN$", "aux:x"] {
            assert_eq!(judge(name.as_bytes()), Some(Kind::DeviceName), "{name:?}");
        }
        for name in ["console", "com", "com0", "com10", "lpt", "auxiliary.py", "nullable.rs", "x.con"] {
            assert_eq!(judge(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn names_that_hide_something_are_refused() {
        assert_eq!(judge(b"a\nb"), Some(Kind::InvisibleCharacter));
        assert_eq!(judge("exe\u{202e}gpj".as_bytes()), Some(Kind::InvisibleCharacter));
        assert_eq!(judge(b"\xff\xfe"), Some(Kind::NotUtf8));
        assert_eq!(judge(b".."), Some(Kind::HostileName));
        assert_eq!(judge("👩\u{200d}🔬.md".as_bytes()), None);
    }

    #[test]
    fn keys_bring_equals_together() {
        assert_eq!(look("cafe\u{301}"), look("caf\u{e9}"));
        assert_eq!(look("a\u{200b}b"), look("ab"));
        assert_ne!(look("A"), look("a"));
        assert_eq!(fold("README"), fold("readme"));
        assert_eq!(fold("ΣΑΣ"), fold("σας"));
        assert_eq!(fold("STRASSE"), fold("straße"));
        assert_ne!(fold("a"), fold("b"));
    }
}
