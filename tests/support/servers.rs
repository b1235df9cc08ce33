//! Where does a test get a real server? Processes of Redis, `PostgreSQL` and `MariaDB`, each with data of its own, gone with
//! the value; none, said aloud, where they are not installed.
//!
//! They run wherever a [`Place`] says, so in another network namespace too, and never as root: each under the user that its
//! package made, or under whoever runs the tests.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, eventually, free_addr};

/// Where a server runs, and its clients.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Words before each command, such as `ip netns exec …`.
    pub within: Vec<String>,
}

impl Place {
    /// A free port of this host.
    pub fn here() -> Self {
        Self { addr: free_addr(), within: Vec::new() }
    }

    /// A command there.
    pub fn command(&self, program: impl Into<OsString>) -> Command {
        self.command_of(None, program)
    }

    /// A command there, as this user if we may choose.
    fn command_of(&self, user: Option<&str>, program: impl Into<OsString>) -> Command {
        let mut words: Vec<OsString> = self.within.iter().map(OsString::from).collect();
        if let Some(user) = user.filter(|_| geteuid().is_root()) {
            let flags = ["--reuid", user, "--regid", user, "--clear-groups", "--"];
            words.extend(["setpriv"].into_iter().chain(flags).map(OsString::from));
        }
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }
}

/// A running server.
pub struct Server {
    /// Where.
    pub place: Place,
    child: Child,
    dir: TempDir,
    start: fn(&Place, &Path) -> Option<Child>,
}

impl Server {
    /// A Redis without memory.
    pub fn redis(place: Place) -> Option<Self> {
        Self::new(place, "redis-server", redis)
    }

    /// A `PostgreSQL` whose user `postgres` needs no password.
    pub fn postgres(place: Place) -> Option<Self> {
        Self::new(place, "postgresql", postgres)
    }

    /// A `MariaDB` that lets everybody do everything.
    pub fn mariadb(place: Place) -> Option<Self> {
        Self::new(place, "mariadb-server", mariadb)
    }

    /// `None`, said aloud: the machine has no such `package`.
    fn new(place: Place, package: &str, start: fn(&Place, &Path) -> Option<Child>) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let child = start(&place, dir.path());
        if child.is_none() {
            let line =
                format!("\nSKIPPED: a test with a real server, since there is no `{package}`; install it\n");
            // Not by `eprint!`, which the test harness keeps to itself.
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        Some(Self { child: child?, place, dir, start })
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A new one in its place, with what the old one wrote down.
    pub fn revive(&mut self) {
        self.child = (self.start)(&self.place, self.dir.path()).unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not killed unless it has to be: processes of its own end with it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn redis(place: &Place, dir: &Path) -> Option<Child> {
    let mut command = place.command("redis-server");
    command.args(["--port", &place.addr.port().to_string(), "--bind", &place.addr.ip().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir"]).arg(dir);
    let child = spawned(&mut command)?;
    answers(place, "redis-cli", &["ping"]);
    Some(child)
}

fn postgres(place: &Place, dir: &Path) -> Option<Child> {
    let tools = newest("/usr/lib/postgresql")?.join("bin");
    let data = dir.join("data");
    if !data.exists() {
        hand_over(dir, "postgres");
        let mut init = place.command_of(Some("postgres"), tools.join("initdb"));
        init.args(["--no-sync", "--auth=trust", "--username=postgres", "--pgdata"]).arg(&data);
        finished(&mut init)?;
        // Callers from other hosts too.
        let rules = data.join("pg_hba.conf");
        fs::write(&rules, "local all all trust\nhost all all all trust\n").unwrap();
    }
    let mut command = place.command_of(Some("postgres"), tools.join("postgres"));
    command.args(["-F", "-p", &place.addr.port().to_string(), "-h", &place.addr.ip().to_string()]);
    command.arg("-D").arg(&data).arg("-k").arg(dir);
    let child = spawned(&mut command)?;
    answers(place, "psql", &["-U", "postgres", "-c", "select 1"]);
    Some(child)
}

fn mariadb(place: &Place, dir: &Path) -> Option<Child> {
    let data = dir.join("data");
    if !data.exists() {
        let mut init = place.command("mariadb-install-db");
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        init.arg(format!("--datadir={}", data.display()));
        finished(&mut init)?;
        hand_over(dir, "mysql");
    }
    let mut command = place.command_of(Some("mysql"), "mariadbd");
    command.args([
        "--no-defaults",
        "--skip-grant-tables",
        "--skip-networking=0",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=0",
    ]);
    command.arg(format!("--port={}", place.addr.port())).arg(format!("--bind-address={}", place.addr.ip()));
    command.arg(format!("--datadir={}", data.display())).arg(format!("--socket={}", dir.join("s").display()));
    let child = spawned(&mut command)?;
    answers(place, "mariadb", &["-e", "select 1"]);
    Some(child)
}

/// A client's command for the server at this address.
pub fn client(place: &Place, program: &str, addr: SocketAddr) -> Command {
    let mut command = place.command(program);
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    match program {
        "mariadb" | "mariadb-slap" => {
            command.args([
                "--no-defaults",
                "--protocol=tcp",
                "--user=root",
                "--host",
                &host,
                "--port",
                &port,
            ]);
        }
        _ => drop(command.args(["-h", &host, "-p", &port])),
    }
    command
}

/// Runs it, and gives what it said; its failure is the test's.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let [said, complaint] =
        [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(done.status.success(), "{command:?}: {said}\n{complaint}");
    said
}

fn answers(place: &Place, program: &str, question: &[&str]) {
    eventually("a server that answers", || {
        let asked = client(place, program, place.addr).args(question).output();
        asked.is_ok_and(|asked| asked.status.success())
    });
}

/// `None`: there is no such program.
fn spawned(command: &mut Command) -> Option<Child> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        spawned => Some(spawned.unwrap()),
    }
}

/// The same of one that ends by itself.
fn finished(command: &mut Command) -> Option<()> {
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        done => {
            let done = done.unwrap();
            assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
            Some(())
        }
    }
}

/// Gives a directory to the user under which the server will run.
fn hand_over(dir: &Path, user: &str) {
    if geteuid().is_root() {
        said(Command::new("chown").args(["-R", user]).arg(dir));
    }
}

fn newest(folder: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    versions.max()
}
