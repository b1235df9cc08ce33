//! Do sidecar and application come and go together? Applications that are started by it, hooks, process 1, restarts.

mod application;
mod commands;
mod first;
mod order;
mod restarts;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::caller::Caller;
use crate::support::draft::ask;
use crate::support::free_addr;
use crate::support::rig::{eventually, whole};

/// A shell function for applications: calls `up` through the sidecar, and fails unless it is answered 200.
const CALL: &str = r#"call() {
    exec 3<>"/dev/tcp/127.0.0.1/$OUTBOUND" &&
        printf 'GET / HTTP/1.1\r\nhost: up\r\nconnection: close\r\n\r\n' >&3 &&
        read -r _ status _ <&3 && exec 3>&- && [ "$status" = 200 ]
}
"#;
/// The rest of an application that waits for a signal; its traps begin with `kill $!`, or it waits on.
const REST: &str = "sleep 60 >&- 2>&- & echo up; while kill -0 $! 2>&-; do wait; done";

/// A policy and its ports.
struct Scene {
    outbound: SocketAddr,
    inbound: SocketAddr,
    metrics: SocketAddr,
    dir: TempDir,
}

impl Scene {
    /// One that drains for so long, before this application, with these documents.
    fn new(drain: &str, app: Option<SocketAddr>, documents: &[String]) -> Self {
        let dir = TempDir::new().unwrap();
        let [outbound, inbound, metrics] = [(); 3].map(|()| free_addr());
        let control = format!("unix:{}", dir.path().join("control").display());
        let app = app.map_or(String::new(), |app| {
            format!("inbound: [{{port: {}, listen: {inbound}, forwardTo: {app}}}]\n", inbound.port())
        });
        let sidecar = format!(
            "apiVersion: outrigger/v1\nkind: Sidecar\nname: tests\nworkers: 1\n{app}outbound: {{listen: {outbound}}}\n\
             admin: {{listen: '{control}', metrics: {metrics}}}\nshutdown: {{drain: {drain}}}\naccessLog: {{successSample: 100%}}\n"
        );
        fs::write(dir.path().join("policy.yaml"), whole(&sidecar, documents)).unwrap();
        Self { outbound, inbound, metrics, dir }
    }

    /// The command that starts `app` beside a sidecar.
    fn command(&self, app: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["run", "--config"]).arg(self.dir.path());
        if !app.is_empty() {
            command.arg("--").args(app);
        }
        command.env("OUTBOUND", self.outbound.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a shell script as application.
    fn start(&self, script: &str) -> Running {
        Running::of(&mut self.command(&["bash", "-c", &format!("{CALL}{script}")]))
    }

    /// Starts a sidecar alone.
    fn sidecar(&self) -> Running {
        let running = Running::of(&mut self.command(&[]));
        eventually("readiness", || (self.probe("/readyz") == Some(200)).then_some(()));
        running
    }

    /// The status that a probe gets; `None`: nobody answers.
    fn probe(&self, path: &str) -> Option<u16> {
        Caller::of(self.metrics).send(&ask("GET", path, "metrics")).ok().map(|answer| answer.status())
    }

    /// Runs another command beside it.
    fn outrigger(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(arguments).arg("--config").arg(self.dir.path()).stderr(Stdio::piped());
        command
    }
}

/// A process; killed with the value.
struct Running {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    complaints: Arc<Mutex<String>>,
}

impl Running {
    fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let complaints = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&complaints);
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| *into.lock().unwrap() += &(line + "\n"));
        });
        Self { child, said, complaints }
    }

    /// The next line that its application writes; `None`: nobody can write any more.
    fn line(&mut self) -> Option<String> {
        self.said.next().map(Result::unwrap)
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, once it has ended by itself.
    #[track_caller]
    fn code(&mut self) -> i32 {
        eventually("the end", || self.child.try_wait().unwrap()).code().expect("no signal ends it")
    }

    /// What it and its application wrote to standard error so far.
    fn complaints(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }

    /// Waits until one of them writes that.
    fn complains(&self, words: &str) {
        eventually(words, || self.complaints().contains(words).then_some(()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
