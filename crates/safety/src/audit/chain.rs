//! How a line is written, and how it is held against its hash.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::digest::sha256;

/// The hash that the first line has as the one before.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What stands between a line's content and its hash.
const HASH: &str = ",\"hash\":\"";
const END: &str = "\"}";

/// A line as it is written, without its hash.
#[derive(Serialize)]
struct Written<'a> {
    seq: u64,
    time: String,
    #[serde(flatten)]
    entry: &'a Entry,
    previous: &'a str,
}

/// What the chain needs of a line that is read.
#[derive(Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) previous: String,
    pub(super) hash: String,
}

/// The line of an entry, its newline included, and its hash.
pub(super) fn line(seq: u64, time: SystemTime, entry: &Entry, previous: &str) -> (String, String) {
    let written = Written { seq, time: rfc3339(time), entry, previous };
    // A struct of texts and numbers can always be written.
    let mut line = serde_json::to_string(&written).unwrap_or_default();
    line.pop();
    let hash = sha256(line.as_bytes());
    line.push_str(HASH);
    line.push_str(&hash);
    line.push_str(END);
    line.push('\n');
    (line, hash)
}

/// A line's number and hashes, if it is one and its own hash is right.
pub(super) fn read(line: &[u8]) -> Option<Link> {
    let link: Link = serde_json::from_slice(line).ok()?;
    let content =
        line.strip_suffix(END.as_bytes())?.strip_suffix(link.hash.as_bytes())?.strip_suffix(HASH.as_bytes())?;
    (sha256(content) == link.hash).then_some(link)
}

/// A time in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
    // Days to a date: Hinnant, "chrono-compatible low-level date algorithms", civil_from_days. A year begins in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn times_are_dates() {
        let at = |seconds: u64| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.007Z");
        assert_eq!(at(1_796_083_199), "2026-11-30T23:59:59.007Z");
    }

    #[test]
    fn any_changed_byte_breaks_the_line() {
        let entry = Entry { who: Some("a \"quoted\"\nname".into()), ..Entry::new(Kind::Made) };
        let (line, hash) = line(3, SystemTime::UNIX_EPOCH, &entry, BEGINNING);
        let bytes = line.trim_end().as_bytes();
        let link = read(bytes).unwrap();
        assert_eq!((link.seq, link.previous.as_str(), &link.hash), (3, BEGINNING, &hash));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_none(), "byte {at}, bit {bit}");
            }
        }
    }
}
