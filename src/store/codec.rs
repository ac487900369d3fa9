//! Between columns and the model's types.

use crate::StoreError;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;

/// Microseconds since 1970.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The present, in the precision that is stored.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

pub(crate) fn time(column: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| corrupt(column, error))
}

pub(crate) fn json<T: Serialize>(column: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(column, error))
}

pub(crate) fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(column, error))
}

pub(crate) fn parse<T: FromStr<Err: Display>>(column: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| corrupt(column, error))
}

pub(crate) fn narrow<T: TryFrom<i64, Error: Display>>(
    column: &'static str,
    number: i64,
) -> Result<T, StoreError> {
    T::try_from(number).map_err(|error| corrupt(column, error))
}

fn corrupt(column: &'static str, error: impl Display) -> StoreError {
    StoreError::Corrupt { column, reason: error.to_string() }
}

/// The words of a plain enum, in the database and for people.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
        impl std::str::FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("`{other}` is none of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;
