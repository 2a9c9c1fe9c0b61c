//! A folder with keys and values, and the built programs.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use std::io::Write;

use tempfile::TempDir;
use zen_integration_tests::tools::binary;

pub(crate) const PLANE: &str = "pl_01k9zc3v5ae9sb2j8m6xq4r7tw";

/// A folder where commands run.
pub(crate) struct Stage {
    pub(crate) dir: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    /// With an identity `lock.key` and its recipient in `lock.pub`.
    pub(crate) fn with_key() -> Self {
        let stage = Self::new();
        let made = stage.lock("keygen --out lock.key", "");
        assert!(made.status.success(), "{made:?}");
        stage.write("lock.pub", &made.stdout);
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `zen-lock` with these words.
    pub(crate) fn lock(&self, words: &str, input: &str) -> Output {
        let program = binary("zen-lock").unwrap();
        self.run(Command::new(program).args(words.split_whitespace()), input)
    }

    pub(crate) fn run(&self, command: &mut Command, input: &str) -> Output {
        let mut child = command
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who refuses the command line does not read what it is given.
        let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

pub(crate) fn told(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}
