//! What images are called in the registry beside their digest: a tag of the platform and the digest. It keeps a registry that collects
//! what has no tag from collecting them, and says whose they are.

use super::OpenError;
use crate::Tag;
use hythe_model::Digest;

/// What the tags of all platforms begin with.
const TAG: &str = "hythe-";

/// The tags of one platform, as in `hythe-production-<digits>`.
#[derive(Debug)]
pub(super) struct Names {
    platform: String,
}

impl Names {
    /// Those of the platform of this name.
    pub(super) fn of(platform: &str) -> Result<Self, OpenError> {
        let names = Self { platform: platform.to_owned() };
        // Every digest is as long as this one.
        match names.text(&Digest::sha256([0; 32])).parse::<Tag>() {
            Ok(_) if !platform.is_empty() => Ok(names),
            _ => Err(OpenError::Platform),
        }
    }

    /// The tag of an image.
    pub(super) fn tag(&self, image: &Digest) -> Tag {
        let text = self.text(image);
        // Of SHA-512 as much as there is room for.
        text[..text.len().min(128)].parse().expect("it was tried")
    }

    fn text(&self, image: &Digest) -> String {
        format!("{TAG}{}-{}", self.platform, image.hex())
    }

    /// The image of this platform that a tag names.
    pub(super) fn own(&self, tag: &Tag) -> Option<Digest> {
        read(tag).filter(|(platform, _)| *platform == self.platform).map(|(_, image)| image)
    }

    /// The image of another platform that a tag names.
    pub(super) fn foreign(&self, tag: &Tag) -> Option<Digest> {
        read(tag).filter(|(platform, _)| *platform != self.platform).map(|(_, image)| image)
    }
}

/// A platform's name and its image.
fn read(tag: &Tag) -> Option<(&str, Digest)> {
    let (platform, digits) = tag.as_str().strip_prefix(TAG)?.rsplit_once('-')?;
    Some((platform, format!("sha256:{digits}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_whose_an_image_is() {
        let image = Digest::sha256([7; 32]);
        let long = "x".repeat(57);
        for platform in ["hythe", "a-b", "staging_2.0", &long] {
            let names = Names::of(platform).unwrap();
            let tag = names.tag(&image);
            assert_eq!(tag.as_str(), format!("hythe-{platform}-{}", "07".repeat(32)));
            assert_eq!((names.own(&tag), names.foreign(&tag)), (Some(image.clone()), None));
            let other = Names::of("b").unwrap();
            assert_eq!((other.own(&tag), other.foreign(&tag)), (None, Some(image.clone())));
        }
        let names = Names::of("hythe").unwrap();
        for tag in ["latest", "hythe-hythe-07", &format!("hythe-{}", "07".repeat(32))] {
            let tag = tag.parse().unwrap();
            assert_eq!((names.own(&tag), names.foreign(&tag)), (None, None), "{tag}");
        }
    }

    #[test]
    fn a_name_that_makes_no_tag_is_refused() {
        for name in ["", "a/b", "a b", "é", &"x".repeat(58)] {
            assert!(Names::of(name).is_err(), "{name}");
        }
    }
}
