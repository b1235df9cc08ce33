//! What runs around a test? One sidecar process, its policy in a directory of its own, and what it says.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::caller::Caller;
use super::draft::ask;
use super::peer::Message;
use super::{PATIENCE, free_addr};

/// A running sidecar; ends with the test.
pub struct Rig {
    /// Where the application calls out.
    pub outbound: SocketAddr,
    /// Where others call the application.
    pub inbound: SocketAddr,
    /// Where Prometheus and probes look.
    pub admin: SocketAddr,
    /// Where operators look, and end what they began.
    pub control: SocketAddr,
    child: Child,
    dir: TempDir,
    sidecar: String,
    env: Vec<(&'static str, String)>,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
}

/// What a test may want beside the defaults.
#[derive(Default)]
pub struct Wishes {
    /// The application behind the inbound port.
    pub app: Option<SocketAddr>,
    /// Threads of the data path; 1 if nothing is said.
    pub workers: Option<usize>,
    /// By which number callers know the inbound port; that of where it listens if nothing is said.
    pub port: Option<u16>,
    /// Further keys of the inbound port.
    pub inbound: String,
    /// Further keys of the outbound side.
    pub outbound: String,
    /// Further keys of the `Sidecar` document.
    pub sidecar: String,
    /// Further environment.
    pub env: Vec<(&'static str, String)>,
}

/// An `Upstream` document.
pub fn upstream(name: &str, endpoints: &[SocketAddr], settings: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(SocketAddr::to_string).collect();
    let discovery = format!("discovery: {{static: [{}]}}", endpoints.join(", "));
    format!("apiVersion: outrigger/v1\nkind: Upstream\nname: {name}\n{discovery}\n{settings}\n")
}

/// Waits until `what` gives something.
pub fn eventually<T>(wanted: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {wanted}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Rig {
    /// Starts a sidecar with these upstreams and routes.
    pub fn start(documents: &[String]) -> Self {
        Self::with(&Wishes::default(), documents)
    }

    /// Starts a sidecar as wished.
    pub fn with(wishes: &Wishes, documents: &[String]) -> Self {
        for _ in 0..5 {
            if let Some(rig) = Self::attempt(wishes, documents) {
                return rig;
            }
        }
        panic!("no sidecar starts");
    }

    /// Ports are chosen before they are bound, so somebody else may be faster: `None`.
    fn attempt(wishes: &Wishes, documents: &[String]) -> Option<Self> {
        let [outbound, inbound, admin, control] = [(); 4].map(|()| free_addr());
        let app = wishes.app.map_or(String::new(), |app| {
            format!(
                "inbound: [{{port: {}, listen: {inbound}, forwardTo: {app}, {}}}]\n",
                wishes.port.unwrap_or(inbound.port()),
                wishes.inbound
            )
        });
        let sidecar = format!(
            "apiVersion: outrigger/v1\nkind: Sidecar\nname: tests\nworkers: {}\n{app}outbound: {{listen: {outbound}, {}}}\n\
             admin: {{listen: {control}, metrics: {admin}}}\n{}\n",
            wishes.workers.unwrap_or(1),
            wishes.outbound,
            if wishes.sidecar.is_empty() { "accessLog: {successSample: 100%}" } else { &wishes.sidecar }
        );
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("policy.yaml"), whole(&sidecar, documents)).unwrap();
        let env = wishes.env.clone();
        let (child, [stdout, stderr]) = spawn(dir.path(), &env);
        let mut rig = Self { outbound, inbound, admin, control, child, dir, sidecar, env, stdout, stderr };
        let ready = rig.is_ready();
        let said = rig.stderr.lock().unwrap().join("\n");
        assert!(ready || said.contains("cannot listen"), "the sidecar ended: {said}");
        ready.then_some(rig)
    }

    /// Waits for it; `false`: it has ended instead.
    fn is_ready(&mut self) -> bool {
        eventually("readiness or an end", || match self.child.try_wait().unwrap() {
            Some(_) => Some(false),
            None => (self.probe("/readyz") == Some(200)).then_some(true),
        })
    }

    /// Ends the process as an operator does, and starts another in its place.
    pub fn restart(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.ended().success(), "it ends in order");
        let (child, [stdout, stderr]) = spawn(self.dir.path(), &self.env);
        (self.child, self.stdout, self.stderr) = (child, stdout, stderr);
        assert!(self.is_ready(), "it starts again");
    }

    /// An application that calls out.
    pub fn caller(&self) -> Caller {
        Caller::of(self.outbound)
    }

    /// `callers` threads, each with `requests` calls on a connection of its own.
    pub fn storm(&self, callers: usize, requests: usize, call: impl Fn(&mut Caller, usize) + Sync) {
        thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| {
                    let mut caller = self.caller();
                    (0..requests).for_each(|nth| call(&mut caller, nth));
                });
            }
        });
    }

    /// The status that a probe gets; `None`: nobody answers.
    pub fn probe(&self, path: &str) -> Option<u16> {
        self.ask(path).map(|answer| answer.status())
    }

    /// What the port for metrics and probes answers.
    pub fn ask(&self, path: &str) -> Option<Message> {
        Caller::of(self.admin).send(&ask("GET", path, "admin")).ok()
    }

    /// The sum of all series of a family (named without prefix) that bear these labels.
    pub fn metric(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        count(&self.scrape(), family, labels)
    }

    /// Waits until [`metric`](Self::metric) says so: an exchange is counted when all of it is over, a moment after its
    /// caller has the answer.
    #[track_caller]
    pub fn counts(&self, family: &str, labels: &[(&str, &str)], count: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.metric(family, labels) {
                found if found == count => return,
                found => assert!(Instant::now() < until, "{family} {labels:?} is {found}, not {count}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A scrape.
    pub fn scrape(&self) -> String {
        String::from_utf8(self.ask("/metrics").unwrap().body).unwrap()
    }

    /// The access log, once it has so many lines.
    pub fn logged(&self, lines: usize) -> Vec<serde_json::Value> {
        eventually("access log lines", || {
            let log = self.stdout.lock().unwrap();
            (log.len() >= lines).then(|| log.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
        })
    }

    /// What was said to operators so far.
    pub fn complaints(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// The policy with these documents beside the sidecar's own.
    pub fn policy(&self, documents: &[String]) -> String {
        whole(&self.sidecar, documents)
    }

    /// Where the policy lies.
    pub fn policy_file(&self) -> PathBuf {
        self.dir.path().join("policy.yaml")
    }

    /// Edits the policy in place, and waits until it runs.
    pub fn reload(&self, documents: &[String]) {
        let before = self.metric("config_generation", &[]);
        fs::write(self.policy_file(), self.policy(documents)).unwrap();
        eventually("the next generation", || (self.metric("config_generation", &[]) > before).then_some(()));
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum of all series of a family (named without prefix) that bear these labels.
pub fn count(scrape: &str, family: &str, labels: &[(&str, &str)]) -> u64 {
    let bears = |line: &str| labels.iter().all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")));
    let of_family = |line: &&str| {
        line.strip_prefix("outrigger_")
            .and_then(|line| line.strip_prefix(family))
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    scrape
        .lines()
        .filter(of_family)
        .filter(|line| bears(line))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// A policy: the `Sidecar` document, and others beside it.
pub fn whole(sidecar: &str, documents: &[String]) -> String {
    let mut policy = sidecar.to_owned();
    for document in documents {
        let _ = write!(policy, "---\n{document}");
    }
    policy
}

/// A process with this policy, and what it writes to its two streams.
fn spawn(policy: &Path, env: &[(&'static str, String)]) -> (Child, [Arc<Mutex<Vec<String>>>; 2]) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["run", "--config"])
        .arg(policy)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let streams = [collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap())];
    (child, streams)
}

fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let into = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
    lines
}
