//! The step from a kernel's source to WGSL: options, repeated lines and constants.
//!
//! - `//# if NAME`, `//# if A == B`, `//# else`, `//# end`: lines of an option, or of a comparison of two words.
//! - `//# for i in 4`, `//# for i in ROWS`, `//# for n in q k v`, `//# end`: lines once for each number below, or for each word, with
//!   `$i` in them replaced.
//! - `${NAME}`: a constant.

use std::iter::Peekable;

/// What a kernel's source refers to by name. An option that is off is 0.
pub(crate) type Constants<'a> = [(&'a str, u32)];

/// The WGSL of a source.
pub(crate) fn expand(source: &str, constants: &Constants) -> String {
    let mut lines = source.lines().peekable();
    let mut result = String::new();
    part(&mut lines, constants, true, &mut result);
    result
}

fn directive(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//# ")
}

fn value(constants: &Constants, name: &str) -> Option<u32> {
    constants.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
}

/// Whether `if` takes its lines.
fn holds(condition: &str, constants: &Constants) -> bool {
    match condition.split_once(" == ") {
        Some((a, b)) => a == b,
        None => value(constants, condition).is_some_and(|value| value != 0),
    }
}

/// Lines up to the `else` or `end` of this part, which is given back.
fn part<'a>(
    lines: &mut Peekable<impl Iterator<Item = &'a str>>,
    constants: &Constants,
    taken: bool,
    result: &mut String,
) -> Option<&'a str> {
    while let Some(line) = lines.next() {
        let Some(directive) = directive(line) else {
            if taken {
                let line = constants.iter().fold(line.to_owned(), |line, (name, value)| {
                    line.replace(&format!("${{{name}}}"), &value.to_string())
                });
                result.push_str(&line);
                result.push('\n');
            }
            continue;
        };
        match directive.split_once(' ') {
            Some(("if", condition)) => {
                let holds = holds(condition, constants);
                if part(lines, constants, taken && holds, result) == Some("else") {
                    part(lines, constants, taken && !holds, result);
                }
            }
            Some(("for", range)) => {
                let body = block(lines);
                if taken && let Some((name, values)) = range.split_once(" in ") {
                    for value in words(values, constants) {
                        result.push_str(&expand(&body.replace(&format!("${name}"), &value), constants));
                    }
                }
            }
            _ => return Some(directive),
        }
    }
    None
}

/// The lines up to the `end` of this block, unchanged.
fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut depth = 1;
    let mut body = String::new();
    for line in lines {
        match directive(line).map(|directive| directive.split(' ').next().unwrap_or_default()) {
            Some("if" | "for") => depth += 1,
            Some("end") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        body.push_str(line);
        body.push('\n');
    }
    body
}

/// The values that a `for` goes over.
fn words(values: &str, constants: &Constants) -> Vec<String> {
    let words: Vec<&str> = values.split(' ').collect();
    match words[..] {
        [one] => {
            let end = one.parse().ok().or_else(|| value(constants, one)).unwrap_or(0);
            (0..end).map(|n| n.to_string()).collect()
        }
        _ => words.into_iter().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_loops_and_constants() {
        let source = "a\n//# if ON\nb ${N}\n//# if OFF\nno\n//# else\nc\n//# end\n//# else\nno\n//# end\n\
            //# for i in N\n//# for j in x y\n$i$j\n//# if $i == 1\nlast\n//# end\n//# end\n//# end\nz\n";
        let expected = "a\nb 2\nc\n0x\n0y\n1x\nlast\n1y\nlast\nz\n";
        assert_eq!(expand(source, &[("ON", 1), ("OFF", 0), ("N", 2)]), expected);
    }
}
