//! The house rules that the compiler does not know: every Rust file says first what it is for,
//! and every promise names a test that exists.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no root")?;
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let mut faults = Vec::new();
    let mut sources = String::new();
    for file in &files {
        let text = fs::read_to_string(file)?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string();
        if !text.starts_with("//!") {
            faults.push(format!(
                "{name}: does not say first what it is for (`//! …`)"
            ));
        }
        if let Some(line) = text.lines().position(|line| line.trim_end() != line) {
            faults.push(format!(
                "{name}:{}: white space at the end of a line",
                line + 1
            ));
        }
        sources.push_str(&text);
    }
    promises(root, &sources, &mut faults)?;
    anyhow::ensure!(faults.is_empty(), "tidy:\n  {}", faults.join("\n  "));
    println!("tidy: {} files", files.len());
    Ok(())
}

/// Each line of PROMISES.md that starts with `- ` ends in the names of its tests, in backquotes.
fn promises(root: &Path, sources: &str, faults: &mut Vec<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join("PROMISES.md"))?;
    let mut promised = 0;
    for line in text.lines().filter(|line| line.starts_with("- ")) {
        promised += 1;
        let Some((promise, tests)) = line.rsplit_once(" — ") else {
            faults.push(format!("PROMISES.md: names no test: {line}"));
            continue;
        };
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            faults.push(format!("PROMISES.md: names no test: {promise}"));
        }
        for name in names
            .iter()
            .filter(|name| !sources.contains(&format!("fn {name}(")))
        {
            faults.push(format!("PROMISES.md: there is no test `{name}`"));
        }
    }
    if promised == 0 {
        faults.push("PROMISES.md: promises nothing".to_owned());
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
