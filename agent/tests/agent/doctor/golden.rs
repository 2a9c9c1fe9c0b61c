//! The exact table that people see, kept beside the tests. What differs from run to run (ports,
//! folders, milliseconds) is given a name first, so that columns stay in line.

use std::path::Path;

use zen_agent::doctor::Report;

/// Compares the report with `golden/<name>.txt`. A file that is not there is written, and the test
/// fails all the same: somebody should read it before it counts.
pub(crate) fn compare(name: &str, report: &Report, names: &[(&str, &str)]) {
    let mut rows = report.rows().to_vec();
    for row in &mut rows {
        for (found, name) in names {
            row.detail = row.detail.replace(found, name);
        }
        row.detail = cut(&row.detail, "fdatasync p99 ", "fdatasync p99 N ms of N");
        row.detail = cut(&row.detail, "good for ", "good for N min");
        row.detail = cut(&row.detail, ", expired ", ", expired N min ago");
        // The words are those of the machine's C library.
        let lookup = "failed to lookup address information: ";
        row.detail = cut(&row.detail, lookup, &format!("{lookup}…"));
    }
    let table = Report::new(rows).table();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/doctor/golden");
    let file = folder.join(format!("{name}.txt"));
    match std::fs::read_to_string(&file) {
        Ok(golden) => assert_eq!(table, golden, "{name}"),
        Err(_) => {
            std::fs::write(&file, &table).unwrap();
            panic!(
                "{} was missing and is written now:\n{table}",
                file.display()
            );
        }
    }
}

/// What begins with `start`, put in other words to its end.
fn cut(text: &str, start: &str, words: &str) -> String {
    match text.split_once(start) {
        Some((before, _)) => format!("{before}{words}"),
        None => text.to_owned(),
    }
}
