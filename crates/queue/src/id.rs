use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// A job's name: 32 hexadecimal digits. The first twelve are the milliseconds since 1970, so that they sort by age; the rest is random, so
/// that nobody guesses another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

/// Bits that are random.
const RANDOM: u32 = 80;

impl JobId {
    /// One that there was never before.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(now: u64) -> Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Error::Storage(format!("no random numbers: {error}")))?;
        Ok(Self((u128::from(now) << RANDOM) | (u128::from_be_bytes(random) >> (u128::BITS - RANDOM))))
    }

    /// As a number.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    /// From a number.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = ();

    /// Only what [`Display`](fmt::Display) writes: one job has one name.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 32 || !text.bytes().all(digits) {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not the id of a job"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_age_and_are_read_as_written() {
        let ids: Vec<JobId> = (1..50).map(|now| JobId::new(now).unwrap()).collect();
        assert!(ids.is_sorted());
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let id = JobId::new(7).unwrap().to_string();
        for text in ["", "0", &id.to_uppercase().replace('0', "F"), &format!("{id}0"), &format!("+{}", &id[1..])] {
            assert_eq!(text.parse::<JobId>(), Err(()), "{text}");
        }
    }
}
