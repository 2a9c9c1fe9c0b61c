//! YAML as it is written here: whatever a text says, it stays one value.

use serde_json::Value;

/// A text in double quotes on one line.
pub(super) fn scalar(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ if u32::from(c) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// A text of lines for a key that stands `indent` deep: a literal block that people can read, if it
/// has nothing but printable lines, and ends in one line break.
pub(super) fn block(text: &str, indent: usize) -> String {
    let lines: Vec<_> = text.trim_end_matches('\n').split('\n').collect();
    let plain = |line: &&str| {
        let printable = line.chars().all(|c| matches!(c, ' '..='~'));
        printable && !line.is_empty() && !line.starts_with(' ')
    };
    if !lines.iter().all(plain) {
        return scalar(text);
    }
    let margin = " ".repeat(indent + 2);
    let lines = lines.iter().map(|line| format!("\n{margin}{line}"));
    format!("|{}", lines.collect::<String>())
}

/// A tree of maps with texts and booleans as leaves.
pub(super) fn tree(value: &Value, indent: usize) -> String {
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let margin = " ".repeat(indent);
        let shown = match value {
            Value::Object(_) => format!("\n{}", tree(value, indent + 2)),
            Value::String(word) => format!(" {}\n", scalar(word)),
            other => format!(" {other}\n"),
        };
        text.push_str(&format!("{margin}{key}:{shown}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was(text in "\\PC*|(?s).*|[-# :a\n\"\\\\]*") {
            let yaml = format!("a:\n  b: {}\n  c: {}\n", scalar(&text), block(&text, 2));
            let read: Value = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(&read["a"]["b"], &json!(text));
            let block = read["a"]["c"].as_str().unwrap();
            prop_assert_eq!(block.trim_end_matches('\n'), text.trim_end_matches('\n'));
        }
    }

    #[test]
    fn lines_that_people_can_read_stay_lines() {
        assert_eq!(block("-----BEGIN\nab\n", 2), "|\n    -----BEGIN\n    ab");
        let leaves = json!({ "a": { "b": "1", "c": true } });
        assert_eq!(tree(&leaves, 0), "a:\n  b: \"1\"\n  c: true\n");
    }
}
