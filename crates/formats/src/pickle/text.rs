//! The text forms of protocol 0.

use super::{Node, Problem, Slot};

/// The most digits of an integer, as CPython's own limit: more take quadratic time.
const MAX_DIGITS: usize = 4300;

/// The integer whose two's complement, little-endian, is `bytes`.
pub(crate) fn integer(bytes: &[u8]) -> Result<Slot, Node> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    // Bytes that only repeat the sign say nothing.
    let mut len = bytes.len();
    while len > 1 && bytes[len - 1] == fill && (bytes[len - 2] & 0x80 != 0) == negative {
        len -= 1;
    }
    if len > 8 {
        return Err(Node::Big(bytes[..len].into()));
    }
    let mut whole = [fill; 8];
    whole[..len].copy_from_slice(&bytes[..len]);
    Ok(Slot::Int(i64::from_le_bytes(whole)))
}

/// The integer of a `LONG` or `INT` line: decimal, with or without the `L` of Python 2.
pub(crate) fn decimal(line: &[u8]) -> Result<Result<Slot, Node>, Problem> {
    let bad = || Problem::broken("a number is none");
    let line = line.strip_suffix(b"L").unwrap_or(line);
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    if digits.len() > MAX_DIGITS {
        return Err(Problem::limit(format!("its pickle has an integer of more than {MAX_DIGITS} digits")));
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(digits.len() / 2 + 2);
    for digit in digits {
        let mut carry = u32::from(digit - b'0');
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            bytes.push(carry as u8);
        }
    }
    bytes.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut bytes {
            let (flipped, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (flipped, over);
        }
    }
    Ok(integer(&bytes))
}

/// The number of a `FLOAT` line.
pub(crate) fn float(line: &[u8]) -> Result<f64, Problem> {
    let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= 1000);
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| Problem::broken("a number is none"))
}

/// The bytes of a `STRING` line: Python's own spelling, in quotes.
pub(crate) fn quoted(line: &[u8]) -> Result<Vec<u8>, Problem> {
    let bad = || Problem::broken("a text is not in quotes");
    let inside = match line {
        [b'\'', inside @ .., b'\''] | [b'"', inside @ .., b'"'] => inside,
        _ => return Err(bad()),
    };
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().ok_or_else(bad)? {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b'f' => bytes.push(12),
            b'v' => bytes.push(11),
            b'x' => {
                let high = rest.next().and_then(hex).ok_or_else(bad)?;
                let low = rest.next().and_then(hex).ok_or_else(bad)?;
                bytes.push((high << 4 | low) as u8);
            }
            first @ b'0'..=b'7' => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    match rest.clone().next() {
                        Some(next @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(next - b'0');
                            rest.next();
                        }
                        _ => break,
                    }
                }
                bytes.push(value as u8);
            }
            quote @ (b'\\' | b'\'' | b'"') => bytes.push(quote),
            other => bytes.extend([b'\\', other]),
        }
    }
    Ok(bytes)
}

/// The text of a `UNICODE` line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(crate) fn raw_unicode(line: &[u8]) -> Result<String, Problem> {
    let bad = || Problem::broken("a text has a wrong escape");
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digits = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(*first));
                continue;
            }
        };
        let code = tail.get(1..=digits).ok_or_else(bad)?;
        let code = code.iter().try_fold(0_u32, |code, &digit| Some(code << 4 | hex(digit)?)).ok_or_else(bad)?;
        text.push(char::from_u32(code).ok_or_else(bad)?);
        rest = &tail[1 + digits..];
    }
    Ok(text)
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(line: &str) -> i64 {
        match decimal(line.as_bytes()) {
            Ok(Ok(Slot::Int(n))) => n,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn integers_of_every_size() {
        for n in [0, 1, -1, 127, 128, -128, -129, 255, 256, 65_535, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(int(&n.to_string()), n);
            assert_eq!(int(&format!("{n}L")), n);
            let mut long = n.to_le_bytes().to_vec();
            long.extend([if n < 0 { 0xff } else { 0 }; 9]);
            assert!(matches!(integer(&long), Ok(Slot::Int(m)) if m == n));
        }
        assert!(matches!(integer(&[]), Ok(Slot::Int(0))));
        let big = decimal(b"119547037146038801333356L").unwrap().unwrap_err();
        assert!(matches!(big, Node::Big(bytes) if *bytes == *b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"));
        let negative = decimal(b"-18446744073709551616").unwrap().unwrap_err();
        assert!(matches!(negative, Node::Big(bytes) if *bytes == [0, 0, 0, 0, 0, 0, 0, 0, 0xff]));
        for bad in ["", "-", "1x", "0x10", "1.0", " 1"] {
            assert!(decimal(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decimal(&[b'9'; 4301]).is_err());
    }

    #[test]
    fn texts() {
        assert_eq!(quoted(br"'a\n\x41\101\'\q'").unwrap(), b"a\nAA'\\q");
        assert_eq!(quoted(br#""b""#).unwrap(), b"b");
        for bad in [&br"'a"[..], b"a", b"'", br"'\x4'", b"'\\'", b""] {
            assert!(quoted(bad).is_err() || bad == b"'\\'", "{bad:?}");
        }
        assert_eq!(raw_unicode(b"a\\u00e9\\U0001f600\xe9\\n").unwrap(), "aé😀é\\n");
        for bad in [&br"\u12"[..], br"\ud800", br"\U00110000", br"\uzzzz"] {
            assert!(raw_unicode(bad).is_err());
        }
        assert!((float(b"1.5").unwrap() - 1.5).abs() < 1e-9);
        assert!(float(b"x").is_err());
    }
}
