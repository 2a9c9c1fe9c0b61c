//! Prints results as table, JSON or YAML. The only place of this binary that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the door to the terminal"
)]

use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use crate::args::Format;

/// A column: its title, and the JSON pointer of its value.
pub(crate) type Column = (&'static str, &'static str);

/// Prints rows: a table of `columns`, or the whole rows.
pub(crate) fn rows(format: Format, rows: &[Value], columns: &[Column]) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            let mut table = Table::new();
            table.load_style(comfy_table::presets::NOTHING);
            table.set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(columns.iter().map(|(title, _)| *title));
            for row in rows {
                table.add_row(
                    columns
                        .iter()
                        .map(|(_, pointer)| cell(row.pointer(pointer))),
                );
            }
            for line in table.to_string().lines() {
                println!("{}", line.trim());
            }
            Ok(())
        }
        Format::Json | Format::Yaml => document(format, &Value::from(rows.to_vec())),
    }
}

/// Prints one thing: `table` makes its text for people.
pub(crate) fn one(
    format: Format,
    value: &Value,
    table: impl FnOnce(&Value) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            println!("{}", table(value));
            Ok(())
        }
        Format::Json | Format::Yaml => document(format, value),
    }
}

fn document(format: Format, value: &Value) -> anyhow::Result<()> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value)?,
        Format::Table | Format::Json => serde_json::to_string_pretty(value)?,
    };
    println!("{}", text.trim_end());
    Ok(())
}

/// Prints text as it is.
pub(crate) fn text(text: &str) {
    print!("{text}");
}

/// A question to the person at the terminal, who answers on the same line.
pub(crate) fn ask(question: &str) {
    eprint!("{question}");
}

/// A line for people that is not a result: goes to standard error, so that output can be piped.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Why the command failed.
pub(crate) fn complain(why: &str) {
    eprintln!("zen: {why}");
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| cell(Some(item)))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    }
}
