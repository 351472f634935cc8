//! Reads just enough of Rust to find the paths that a source names.

/// The source with comments and the insides of texts blanked out, line breaks kept.
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(length) = raw_text(bytes, at) {
            at + length
        } else if rest[0] == b'"' {
            at + text(rest)
        } else if let Some(length) = char_literal(rest) {
            at + length
        } else {
            out.push(bytes[at]);
            at += 1;
            continue;
        };
        out.extend(bytes[at..end].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
        at = end;
    }
    String::from_utf8(out).expect("only whole characters are blanked")
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn text(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_text(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at] != b'r' || (at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let start = at + 2 + hashes;
    let length = bytes[start..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len() - at, |length| start + length + close.len() - at))
}

/// The length of a character literal such as `'"'`; `None` for lifetimes.
fn char_literal(bytes: &[u8]) -> Option<usize> {
    if bytes[0] != b'\'' {
        return None;
    }
    if bytes.get(1) == Some(&b'\\') {
        return bytes[2..].iter().skip(1).position(|b| *b == b'\'').map(|at| at + 4);
    }
    let width = match bytes.get(1)? {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (bytes.get(1 + width) == Some(&b'\'')).then_some(2 + width)
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// All paths of at least two parts that a source names, with their lines: from `use` trees, written out, and anywhere else.
pub fn paths(source: &str) -> Vec<(usize, String)> {
    let blanked = blank(source);
    let mut found = Vec::new();
    let bytes = blanked.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let (end, tree) = tree(bytes, at, "");
        let is_use = tree.iter().any(|(_, path)| path == "use");
        if is_use {
            // The word itself; its tree follows as a path of its own, which may be one word, as in `use tokio;`.
            let start = end + bytes[end..].iter().take_while(|b| b.is_ascii_whitespace() || **b == b':').count();
            let (end, tree) = self::tree(bytes, start, "");
            found.extend(tree);
            at = end.max(start);
            continue;
        }
        found.extend(tree.into_iter().filter(|(_, path)| path.contains("::")));
        at = end;
    }
    found.into_iter().map(|(at, path)| (1 + bytes[..at].iter().filter(|b| **b == b'\n').count(), path)).collect()
}

/// Reads `a::b::{c, d::{e}}` from `at`: where it ends, and every path in it with its place.
fn tree(bytes: &[u8], mut at: usize, prefix: &str) -> (usize, Vec<(usize, String)>) {
    let start = at;
    let mut path = prefix.to_owned();
    let mut found = Vec::new();
    loop {
        let word = bytes[at..].iter().take_while(|b| is_word(**b)).count();
        if word != 0 {
            if !path.is_empty() {
                path += "::";
            }
            path += std::str::from_utf8(&bytes[at..at + word]).expect("words are ASCII");
            at += word;
        }
        let gap = bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        if !bytes[at + gap..].starts_with(b"::") {
            break;
        }
        at += gap + 2;
        at += bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        if bytes.get(at) == Some(&b'{') {
            at += 1;
            while at < bytes.len() && bytes[at] != b'}' {
                if is_word(bytes[at]) {
                    let (end, inner) = tree(bytes, at, &path);
                    found.extend(inner);
                    at = end;
                    // A new name, as in `a as b`, is no path.
                    let rest = &bytes[at..];
                    at += rest.iter().take_while(|b| !matches!(**b, b',' | b'}')).count();
                } else {
                    at += 1;
                }
            }
            return ((at + 1).min(bytes.len()), found);
        }
        if !bytes.get(at).is_some_and(|b| is_word(*b)) {
            break;
        }
    }
    if !path.is_empty() {
        found.push((start, path));
    }
    (at.max(start), found)
}
