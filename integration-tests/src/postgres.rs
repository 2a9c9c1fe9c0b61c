//! PostgreSQL for tests, from the machine's own packages. One server is shared by every test of a
//! run and stops by itself some minutes after the last; each test has a database of its own on it.
//! A test that stops its server starts one for itself.
//!
//! Durability is off (`fsync`, `full_page_writes`, `synchronous_commit`): these servers never
//! prove what survives a power cut, only what is stored and in which order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};

/// Where Debian and others put the server's programs, newest first.
const PROGRAMS: [&str; 5] = [
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/bin",
];
/// The role that owns everything.
pub const USER: &str = "zen";
/// Names the socket only: nothing listens on a network.
pub const PORT: u16 = 5432;
/// Minutes without a test after which the shared server stops.
const IDLE_MINUTES: u32 = 10;

static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// A database that is empty at first.
#[derive(Clone, Debug)]
pub struct Database {
    /// Folder of the server's socket.
    pub host: PathBuf,
    /// The database's name.
    pub name: String,
}

impl Database {
    /// Its address, as in `database.url_file`.
    #[must_use]
    pub fn url(&self) -> String {
        let host = self.host.display();
        format!(
            "postgres:///{}?host={host}&port={PORT}&user={USER}&sslmode=disable",
            self.name
        )
    }
}

/// A server in a folder of its own.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    /// More settings of the server, as on its command line.
    settings: String,
}

/// A fresh database on the shared server; none, said aloud, where PostgreSQL is not installed.
///
/// # Errors
/// When the server cannot be started, and under `CI=true` when it is not installed.
pub fn postgres() -> anyhow::Result<Option<Database>> {
    let Some(programs) = programs()? else {
        return Ok(None);
    };
    let folder = std::env::temp_dir().join("zen-test-postgres");
    std::fs::create_dir_all(&folder)?;
    // One test at a time starts the server or makes a database.
    let turn = File::create(folder.join("turn"))?;
    turn.lock()?;
    File::create(folder.join("used"))?;
    let server = Server {
        folder,
        programs,
        settings: String::new(),
    };
    if !server.answers() {
        server.start()?;
        server.stop_when_idle()?;
    }
    server.database().map(Some)
}

impl Server {
    /// A server for one test alone, which it may stop and start; stops for good when dropped.
    ///
    /// # Errors
    /// As [`postgres`].
    pub fn own(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs()? else {
            return Ok(None);
        };
        let server = Self {
            folder: folder.to_owned(),
            programs,
            settings: String::new(),
        };
        server.start()?;
        Ok(Some(server))
    }

    /// Starts it again, listening on a loopback port with TLS alone, where only a password lets
    /// anybody in. `certificate` names `localhost`, `key` is its key.
    ///
    /// # Errors
    /// With the words of the program that failed.
    pub fn secure(
        &mut self,
        port: u16,
        certificate: &Path,
        key: &Path,
        password: &str,
    ) -> anyhow::Result<()> {
        self.sql(&format!("ALTER ROLE {USER} PASSWORD '{password}'"))?;
        self.stop()?;
        let data = self.folder.join("data");
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules)?;
        for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
            let placed = Command::new("install")
                .args(["-m", "0600"])
                .args(
                    is_root()
                        .then_some(["-o", "postgres"])
                        .into_iter()
                        .flatten(),
                )
                .args([from, &data.join(to)])
                .status()?;
            ensure!(placed.success(), "install");
        }
        self.settings = format!("-c ssl=on -c listen_addresses=127.0.0.1 -c port={port}");
        self.start()
    }

    /// Starts it, the first time with nothing in it.
    ///
    /// # Errors
    /// With the words of the program that failed.
    pub fn start(&self) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        open_way_to(&self.folder)?;
        if !data.join("PG_VERSION").exists() {
            let owned = Command::new("install")
                .args(["-d", "-m", "0700"])
                .args(
                    is_root()
                        .then_some(["-o", "postgres"])
                        .into_iter()
                        .flatten(),
                )
                .arg(&data)
                .output();
            ensure!(owned.is_ok_and(|output| output.status.success()), "install");
            self.run("initdb", |initdb| {
                initdb.arg("-D").arg(&data);
                initdb.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]);
                initdb.arg("--locale=C.UTF-8");
            })?;
        }
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c port={PORT} -c fsync=off \
             -c full_page_writes=off -c synchronous_commit=off -c max_connections=400 \
             -c logging_collector=off {}",
            data.display(),
            self.settings
        );
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl.arg("-D").arg(&data).arg("-l").arg(data.join("log"));
            pg_ctl.args(["-w", "-t", "60", "-o", &options, "start"]);
        })
    }

    /// Stops it; what is connected is cut, what was committed is kept.
    ///
    /// # Errors
    /// With the words of the program that failed.
    pub fn stop(&self) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        self.run("pg_ctl", |pg_ctl| {
            pg_ctl.arg("-D").arg(&data);
            pg_ctl.args(["-m", "fast", "-w", "stop"]);
        })
    }

    /// A fresh database.
    ///
    /// # Errors
    /// With the words of the program that failed.
    pub fn database(&self) -> anyhow::Result<Database> {
        self.sweep()?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{}_{number}", std::process::id());
        self.sql(&format!("DROP DATABASE IF EXISTS {name}"))?;
        self.sql(&format!("CREATE DATABASE {name}"))?;
        let host = self.folder.join("data");
        Ok(Database { host, name })
    }

    /// Removes databases whose test has ended.
    fn sweep(&self) -> anyhow::Result<()> {
        let all = self.sql("SELECT datname FROM pg_database WHERE datname LIKE 't\\_%'")?;
        let of_the_dead = all.lines().filter(|name| {
            let process = name.split('_').nth(1).unwrap_or_default();
            !Path::new("/proc").join(process).exists()
        });
        for name in of_the_dead {
            self.sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        }
        Ok(())
    }

    fn sql(&self, statement: &str) -> anyhow::Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .arg("-h")
            .arg(self.folder.join("data"))
            .args(["-U", USER, "-d", "postgres", "-p", &PORT.to_string()])
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
            ])
            .output()
            .context("psql")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{statement}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn answers(&self) -> bool {
        self.sql("SELECT 1").is_ok()
    }

    /// Leaves a process behind that stops the server, and removes it, when no test has used it for
    /// a while.
    fn stop_when_idle(&self) -> anyhow::Result<()> {
        let script = format!(
            "while [ -z \"$(find {folder}/used -mmin +{IDLE_MINUTES})\" ]; do sleep 20; done; \
             {programs}/pg_ctl -D {folder}/data -m immediate stop && rm -rf {folder}/data",
            folder = self.folder.display(),
            programs = self.programs.display(),
        );
        self.as_owner("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("sh")?;
        Ok(())
    }

    fn run(&self, program: &str, fill: impl FnOnce(&mut Command)) -> anyhow::Result<()> {
        let mut command = self.as_owner(&self.programs.join(program).to_string_lossy());
        fill(&mut command);
        // Not piped: the server would keep the pipe open, and nobody would see its end.
        let said = tempfile::NamedTempFile::new()?;
        let status = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(said.reopen()?)
            .stderr(said.reopen()?)
            .status()
            .with_context(|| program.to_owned())?;
        let words = std::fs::read_to_string(said.path()).unwrap_or_default();
        ensure!(status.success(), "{program}: {words}");
        Ok(())
    }

    /// A program under the user that may run the server, which is never root, and in a process
    /// group that outlives the test's.
    fn as_owner(&self, program: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = if is_root() {
            let mut setpriv = Command::new("setpriv");
            setpriv.args([
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--clear-groups",
            ]);
            setpriv.arg(program);
            setpriv
        } else {
            Command::new(program)
        };
        command.process_group(0);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let shared = self.folder.join("turn").exists();
        if !shared {
            // It may be stopped already.
            let _stopped = self.stop();
        }
    }
}

/// Where the programs are.
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests speak to people"
)]
fn programs() -> anyhow::Result<Option<PathBuf>> {
    let mut folders = PROGRAMS.iter().map(PathBuf::from);
    let found = folders.find(|folder| folder.join("initdb").exists());
    if found.is_none() {
        let text = "PostgreSQL is missing: apt-get install postgresql";
        ensure!(std::env::var("CI").is_err(), text);
        eprintln!("SKIPPED: {text}");
    }
    Ok(found)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Lets the server's user pass through the folders above.
fn open_way_to(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder)?;
    let mut permissions = std::fs::metadata(folder)?.permissions();
    permissions.set_mode(permissions.mode() | 0o711);
    std::fs::set_permissions(folder, permissions)
}
