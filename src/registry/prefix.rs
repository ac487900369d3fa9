//! Where tools' images are as nodes see them: a registry's host, and the path that goes before a tool's name in it.

use crate::Repository;
use hythe_model::{Digest, ToolName};
use std::fmt;
use std::str::FromStr;

/// The longest path: with a tool's name it is a repository still.
const LONGEST: usize = 120;

/// A registry and a path in it, as in `harbor.example.org/hythe`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix {
    host: String,
    path: String,
}

impl Prefix {
    /// The embedded registry, reached at this host and port.
    pub fn embedded(host: impl Into<String>) -> Self {
        Self { host: host.into(), path: Repository::TOOLS.to_owned() }
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository of a tool's images.
    pub fn repository(&self, tool: &ToolName) -> Repository {
        self.below(tool.as_str())
    }

    /// A repository beside those of tools.
    pub(crate) fn below(&self, name: &str) -> Repository {
        Repository::below(&self.path, name)
    }

    /// An image as it is pulled, by digest.
    pub fn image(&self, tool: &ToolName, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.host, self.repository(tool))
    }

    /// The tool and the digest of an image that is pulled from here.
    pub fn parse_image(&self, image: &str) -> Option<(ToolName, Digest)> {
        let (name, digest) = image.split_once('@')?;
        let (place, tool) = name.rsplit_once('/')?;
        let ours = place == self.to_string();
        ours.then_some(())?;
        Some((tool.parse().ok()?, digest.parse().ok()?))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

/// Why a text names no place in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Scheme, user or query, or no host at all.
    #[error("it begins with a host and, where it needs one, a port, as in harbor.example.org/hythe")]
    Host,
    /// A name without a dot or a port would be taken for a part of a path by every client.
    #[error("its host needs a dot or a port: clients take it for a part of the path")]
    Bare,
    /// Not a path of the distribution spec.
    #[error(
        "its path has lower-case letters, digits and single . _ - between slashes, at most 120 characters"
    )]
    Path,
}

impl FromStr for Prefix {
    type Err = PrefixError;
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
        if host.ends_with(':')
            || !host.chars().all(plain)
            || reqwest::Url::parse(&format!("https://{host}")).is_err()
        {
            return Err(PrefixError::Host);
        }
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(PrefixError::Bare);
        }
        let is_path = path.is_empty() || path.len() <= LONGEST && path.parse::<Repository>().is_ok();
        // A slash at the end is a path that was forgotten.
        if !is_path || text.ends_with('/') {
            return Err(PrefixError::Path);
        }
        Ok(Self { host: host.to_owned(), path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_host_and_a_path() {
        let tool: ToolName = "weather".parse().unwrap();
        let digest = Digest::sha256([7; 32]);
        for (text, repository) in [
            ("harbor.example.org/hythe", "hythe/weather"),
            ("registry.example.org:5000/a/b-c", "a/b-c/weather"),
            ("10.0.0.5:5000", "weather"),
            ("localhost/x", "x/weather"),
            ("[2001:db8::1]:5000/x", "x/weather"),
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!((prefix.to_string().as_str(), prefix.repository(&tool).as_str()), (text, repository));
            let image = prefix.image(&tool, &digest);
            assert_eq!(image, format!("{text}/weather@{digest}"));
            assert_eq!(prefix.parse_image(&image), Some((tool.clone(), digest.clone())));
        }
        assert_eq!(Prefix::embedded("10.0.0.5:5000").to_string(), "10.0.0.5:5000/tools");
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("", PrefixError::Host),
            ("https://harbor.example.org/hythe", PrefixError::Host),
            ("user:secret@harbor.example.org/x", PrefixError::Host),
            ("a.b:port/x", PrefixError::Host),
            ("hythe/tools", PrefixError::Bare),
            ("harbor.example.org/", PrefixError::Path),
            ("harbor.example.org/Hythe", PrefixError::Path),
            ("harbor.example.org/../x", PrefixError::Path),
            (&format!("harbor.example.org/{}", "a".repeat(121)), PrefixError::Path),
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(why), "{text}");
        }
    }

    #[test]
    fn an_image_of_another_place_is_not_ours() {
        let prefix: Prefix = "harbor.example.org/hythe".parse().unwrap();
        let digest = Digest::sha256([7; 32]);
        for other in
            ["harbor.example.org/hythe/x/weather", "harbor.example.org/weather", "other.org/hythe/weather"]
        {
            assert_eq!(prefix.parse_image(&format!("{other}@{digest}")), None, "{other}");
        }
        assert_eq!(prefix.parse_image("harbor.example.org/hythe/weather:v1"), None);
    }
}
