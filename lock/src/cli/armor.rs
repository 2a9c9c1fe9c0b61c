//! Armored age files inside other text, such as the manifest of a ZenLock: found by their first and
//! last line and exchanged in place, so that everything around them stays as its author wrote it.

use std::ops::Range;

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";

/// One armored file in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it is, whole lines.
    pub(super) place: Range<usize>,
    /// What stands before each of its lines.
    indent: String,
    /// The age file, without the indentation.
    pub(super) sealed: String,
}

/// Every armored file of a text, in order. One without an end is none.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if bare == BEGIN {
            let indent = line.len() - line.trim_start().len();
            open = Some(Block {
                place: at..at,
                indent: line[..indent].to_owned(),
                sealed: String::new(),
            });
        }
        at += line.len();
        if let Some(block) = &mut open {
            block.sealed.push_str(bare);
            block.sealed.push('\n');
            block.place.end = at;
        }
        if bare == END {
            found.extend(open.take());
        }
    }
    found
}

/// The text with each block's age file exchanged for another.
pub(super) fn exchanged(text: &str, all: &[(Block, String)]) -> String {
    let mut new = String::with_capacity(text.len());
    let mut at = 0;
    for (block, sealed) in all {
        new.push_str(&text[at..block.place.start]);
        for line in sealed.trim_end().lines() {
            new.push_str(&block.indent);
            new.push_str(line);
            new.push('\n');
        }
        at = block.place.end;
    }
    new.push_str(&text[at..]);
    new
}

/// The one sealed secret in a file: its first armored block, or else all of its bytes.
pub(super) fn sealed_of(bytes: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    match blocks(text).into_iter().next() {
        Some(block) => block.sealed.into_bytes(),
        None => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_and_exchanged_and_nothing_else_changes() {
        let text =
            format!("# mine\na: |\n  {BEGIN}\n  YWJj\n  {END}\nb: 1\n---\n{BEGIN}\nZGVm\n{END}\n");
        let found = blocks(&text);
        assert_eq!(found[0].sealed, format!("{BEGIN}\nYWJj\n{END}\n"));
        assert_eq!(found.len(), 2);
        let same: Vec<_> = found
            .into_iter()
            .map(|block| {
                let sealed = block.sealed.clone();
                (block, sealed)
            })
            .collect();
        assert_eq!(exchanged(&text, &same), text);
        let other: Vec<_> = same
            .into_iter()
            .map(|(block, sealed)| (block, sealed.replace("YWJj", "Z2hp")))
            .collect();
        assert_eq!(exchanged(&text, &other), text.replace("YWJj", "Z2hp"));
    }

    #[test]
    fn one_without_an_end_is_none() {
        assert!(blocks(&format!("{BEGIN}\nYWJj\n")).is_empty());
    }
}
