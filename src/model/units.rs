//! Sizes, spans of time and cores as people write them.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written as in `512 MiB` or `1 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A span of time, written as in `20 min` or `500 ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A share of the machine's cores in thousandths, written as in `2` or `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores(pub u32);

impl Size {
    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Span {
    /// So many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// As the standard library has it.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Cores {
    /// Thousandths of a core.
    pub fn millis(self) -> u32 {
        self.0
    }
}

/// A number, at most three digits after its point, and a unit.
fn thousandths(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if part.is_empty() || part.len() > 3 {
        return None;
    }
    let part = part.parse::<u64>().ok()? * 10u64.pow(3 - u32::try_from(part.len()).ok()?);
    let whole = whole.parse::<u64>().ok()?.checked_mul(1000)?;
    Some((whole.checked_add(part)?, unit.trim()))
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a size: write it as in 512 MiB, 8 GiB or 100 kB");
        let (number, unit) = thousandths(text.trim()).ok_or_else(refused)?;
        let factor: u64 = match unit {
            "B" | "bytes" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(refused()),
        };
        let bytes = u128::from(number) * u128::from(factor) / 1000;
        u64::try_from(bytes).ok().filter(|bytes| *bytes < 1 << 62).map(Self).ok_or_else(refused)
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("`{text}` is not a span of time: write it as in 500 ms, 30 s, 20 min or 24 h");
        let (number, unit) = thousandths(text.trim()).ok_or_else(refused)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        let micros = number.checked_mul(millis).ok_or_else(refused)?;
        Ok(Self(Duration::from_micros(micros)))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let exact = units.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match exact {
            Some((word, unit)) => write!(f, "{} {word}", self.0 / unit),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
        let exact = units.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
        match exact {
            Some((word, unit)) => write!(f, "{} {word}", millis / unit),
            None => write!(f, "{millis} ms"),
        }
    }
}

struct Words<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Words<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Words("a size with its unit, as in \"512 MiB\"", std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Words(
            "a span of time with its unit, as in \"20 min\"",
            std::marker::PhantomData,
        ))
    }
}

/// More cores, in thousandths, than any machine has.
const MOST_MILLIS: u32 = 4_096_000;

struct CoresVisitor;

impl Visitor<'_> for CoresVisitor {
    type Value = Cores;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of cores, as in 2 or 0.5")
    }
    fn visit_u64<E: Error>(self, cores: u64) -> Result<Cores, E> {
        self.visit_i64(i64::try_from(cores).map_err(|_| E::custom(refused_cores(cores)))?)
    }
    fn visit_i64<E: Error>(self, cores: i64) -> Result<Cores, E> {
        let millis = u32::try_from(cores).ok().and_then(|cores| cores.checked_mul(1000));
        millis
            .filter(|millis| (1..=MOST_MILLIS).contains(millis))
            .map(Cores)
            .ok_or_else(|| E::custom(refused_cores(cores)))
    }
    fn visit_f64<E: Error>(self, cores: f64) -> Result<Cores, E> {
        if !(0.01..=f64::from(MOST_MILLIS) / 1000.0).contains(&cores) {
            return Err(E::custom(refused_cores(cores)));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        let millis = (cores * 1000.0).round() as u32;
        Ok(Cores(millis))
    }
}

fn refused_cores(given: impl fmt::Display) -> String {
    format!("`{given}` is not a number of cores: write it as in 2 or 0.5")
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(CoresVisitor)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Cores {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(f64::from(self.0) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_as_they_are_written() {
        assert_eq!("512 MiB".parse(), Ok(Size::mib(512)));
        assert_eq!("1.5GB".parse(), Ok(Size(1_500_000_000)));
        assert_eq!("20 min".parse(), Ok(Span::seconds(1200)));
        assert_eq!("0.25 s".parse(), Ok(Span(Duration::from_millis(250))));
        for text in ["512 MiB", "8 GiB", "1000 B"] {
            assert_eq!(text.parse::<Size>().map(|size| size.to_string()), Ok(text.to_owned()));
        }
        for text in ["20 min", "30 s", "500 ms", "1 d"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_stored_is_read_again() {
        assert!(serde_json::from_str::<Cores>("5000").is_err(), "more than can be read back");
        let all = (Size(1_500_000_001), Span(Duration::from_millis(90_500)), Cores(250), Cores(2000));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<(Size, Span, Cores, Cores)>(&text).unwrap(), all, "{text}");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "512", "MiB", "-1 MiB", "1 mib", "1.2345 MiB", "9999999999 TiB", "1..2 MiB", ". MiB"]
        {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        for bad in ["", "20", "20 m", "1 fortnight", "99999999999999999999 d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
