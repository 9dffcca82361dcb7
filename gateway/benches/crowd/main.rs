//! What the engines cost against the least a ring can do: echoes, and one message to every connection.
//!
//! `cargo bench -p pushgate-gateway --bench crowd [-- --record]`. Engines take turns round by round; the cost is the
//! processor time of the server's thread, which on loopback contains most of the kernel's work. `--record` writes
//! `bench/results/crowd.json`.

#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to clean up")]

mod raw;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use pushgate_gateway::crowd::{ConnId, Crowd, Gone, Handler, Outgoing, Settings, engine::Engine, wake::Watch};
use serde_json::{Value, json};

const ROUNDS: usize = 10;
const ECHO_SOCKETS: usize = 64;
const ECHO_BYTES: usize = 64;
const ECHOES: usize = 1_000;
const IDLE_SOCKETS: usize = 9_000;
const FAN_SOCKETS: usize = 2_000;
const FAN_BYTES: usize = 128;
const FANS: usize = 20;

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Raw,
    Engine(Engine),
}

const SERVERS: [(&str, Server); 3] =
    [("raw", Server::Raw), ("uring", Server::Engine(Engine::Uring)), ("epoll", Server::Engine(Engine::Epoll))];

fn main() {
    // Without this, a test run over all targets would take the time of a measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if std::env::args().any(|argument| argument == "--idle-uring") {
        return println!("{}", idle_bytes(Engine::Uring));
    }
    if std::env::args().any(|argument| argument == "--idle-epoll") {
        return println!("{}", idle_bytes(Engine::Epoll));
    }
    // Each in a process of its own, or one would live in the memory that the other gave back.
    let this = std::env::current_exe().unwrap().display().to_string();
    let idle = [Engine::Uring, Engine::Epoll]
        .map(|engine| (engine.name(), answer(&this, &["--bench", &format!("--idle-{}", engine.name())])));
    let mut samples: Vec<(&str, Vec<u64>, Vec<u64>)> =
        SERVERS.iter().map(|(name, _)| (*name, Vec::new(), Vec::new())).collect();
    for _ in 0..ROUNDS {
        for ((_, server), (_, echoes, fans)) in SERVERS.iter().zip(&mut samples) {
            echoes.push(echo_ns(*server));
            fans.push(fan_out_ns(*server));
        }
    }
    let report = report(&samples, &idle);
    println!("{report:#}");
    if std::env::args().any(|argument| argument == "--record") {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results");
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("crowd.json"), format!("{report:#}\n")).unwrap();
    }
}

/// Resident bytes of user space per connection that has echoed once and then idles, shared buffers of the engine included.
fn idle_bytes(engine: Engine) -> usize {
    let mut peers = Vec::with_capacity(IDLE_SOCKETS);
    let before = resident_bytes();
    let mut crowd = engine.open(Settings::default()).unwrap();
    for _ in 0..IDLE_SOCKETS {
        let (near, far) = UnixStream::pair().unwrap();
        crowd.insert(far.into()).unwrap();
        peers.push(near);
    }
    let mut echo = Echo(IDLE_SOCKETS * ECHO_BYTES);
    for some in peers.chunks_mut(100) {
        let left = echo.0 - some.len() * ECHO_BYTES;
        some.iter_mut().for_each(|peer| peer.write_all(&[7; ECHO_BYTES]).unwrap());
        while echo.0 > left || crowd.wants_turn() {
            crowd.turn(0, &mut echo).unwrap();
        }
    }
    (resident_bytes() - before) / IDLE_SOCKETS
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// Nanoseconds of the server's processor per echo.
fn echo_ns(server: Server) -> u64 {
    let total = ECHO_SOCKETS * ECHO_BYTES * ECHOES;
    let ns = serve(
        server,
        ECHO_SOCKETS,
        move |shard| shard.echo(total),
        |clients| {
            let mut bytes = [7; ECHO_BYTES];
            for _ in 0..ECHOES {
                clients.iter_mut().for_each(|client| client.write_all(&bytes).unwrap());
                clients.iter_mut().for_each(|client| client.read_exact(&mut bytes).unwrap());
            }
        },
    );
    ns / (ECHO_SOCKETS * ECHOES) as u64
}

/// Nanoseconds of the server's processor per message of a fan-out.
fn fan_out_ns(server: Server) -> u64 {
    let step = Arc::new(Barrier::new(2));
    let theirs = step.clone();
    let fan = move |shard: &mut dyn Shard| {
        for _ in 0..FANS {
            shard.fan_out(&[7; FAN_BYTES]);
            step.wait();
        }
    };
    let ns = serve(server, FAN_SOCKETS, fan, |clients| {
        for _ in 0..FANS {
            theirs.wait();
            clients.iter_mut().for_each(|client| client.read_exact(&mut [0; FAN_BYTES]).unwrap());
        }
    });
    ns / (FAN_SOCKETS * FANS) as u64
}

/// Runs `work` on a server thread and `clients` here; returns the processor time of the work.
fn serve(
    server: Server,
    count: usize,
    work: impl FnOnce(&mut dyn Shard) + Send + 'static,
    clients: impl FnOnce(&mut Vec<TcpStream>),
) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut near, far): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let far = listener.accept().unwrap().0;
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            (near, far)
        })
        .unzip();
    let ready = Arc::new(Barrier::new(2));
    let go = ready.clone();
    let thread = thread::spawn(move || {
        let mut shard: Box<dyn Shard> = match server {
            Server::Raw => Box::new(raw::Raw::new(far)),
            Server::Engine(engine) => Box::new(Monoio::new(engine, far)),
        };
        go.wait();
        let before = processor_ns();
        work(&mut *shard);
        processor_ns() - before
    });
    ready.wait();
    clients(&mut near);
    thread.join().unwrap()
}

trait Shard {
    fn echo(&mut self, bytes: usize);
    fn fan_out(&mut self, message: &[u8]);
}

impl Shard for raw::Raw {
    fn echo(&mut self, bytes: usize) {
        raw::Raw::echo(self, bytes);
    }

    fn fan_out(&mut self, message: &[u8]) {
        raw::Raw::fan_out(self, message);
    }
}

/// An engine as a shard uses it: awaited in a monoio runtime.
struct Monoio {
    engine: Engine,
    sockets: Vec<TcpStream>,
    crowd: Option<(Box<dyn Crowd>, Vec<ConnId>)>,
}

struct Echo(usize);

impl Handler for Echo {
    fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        self.0 -= bytes.len();
        out.staging(conn).unwrap().extend_from_slice(bytes);
    }

    fn gone(&mut self, _: ConnId, _: Gone, _: &mut dyn Outgoing) {}
}

impl Monoio {
    fn new(engine: Engine, sockets: Vec<TcpStream>) -> Self {
        let mut shard = Self { engine, sockets, crowd: None };
        shard.open();
        shard
    }

    fn open(&mut self) {
        let mut crowd = self.engine.open(Settings::default()).unwrap();
        let conns = self.sockets.drain(..).map(|socket| crowd.insert(socket.into()).unwrap()).collect();
        crowd.turn(0, &mut Echo(0)).unwrap();
        self.crowd = Some((crowd, conns));
    }

    fn run(&self, main: impl Future<Output = ()>) {
        if self.engine == Engine::Uring {
            monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build().unwrap().block_on(main);
        } else {
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap().block_on(main);
        }
    }
}

impl Shard for Monoio {
    fn echo(&mut self, bytes: usize) {
        let (mut crowd, conns) = self.crowd.take().unwrap();
        self.run(async {
            let mut watch = Watch::new().unwrap();
            let mut echo = Echo(bytes);
            while echo.0 > 0 || crowd.wants_turn() {
                watch.wait(&*crowd, Duration::from_secs(1)).await.unwrap();
                crowd.turn(0, &mut echo).unwrap();
            }
        });
        self.crowd = Some((crowd, conns));
    }

    fn fan_out(&mut self, message: &[u8]) {
        let (crowd, conns) = self.crowd.as_mut().unwrap();
        for conn in conns {
            crowd.staging(*conn).unwrap().extend_from_slice(message);
        }
        crowd.turn(0, &mut Echo(0)).unwrap();
    }
}

/// Processor time of this thread.
fn processor_ns() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn report(samples: &[(&str, Vec<u64>, Vec<u64>)], idle: &[(&'static str, String); 2]) -> Value {
    let (_, raw_echoes, raw_fans) = &samples[0];
    let engines: Vec<_> = samples
        .iter()
        .map(|(name, echoes, fans)| {
            json!({
                "server": name,
                "echo_ns": echoes, "echo_ns_median": median(echoes),
                "echo_cost_to_raw": ratio(echoes, raw_echoes),
                "fan_out_ns": fans, "fan_out_ns_median": median(fans),
                "fan_out_cost_to_raw": ratio(fans, raw_fans),
            })
        })
        .collect();
    json!({
        "what": "processor nanoseconds of the server's thread per echo and per message of a fan-out",
        "command": "cargo bench -p pushgate-gateway --bench crowd -- --record",
        "commit": answer("git", &["rev-parse", "HEAD"]),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "kernel": answer("uname", &["-sr"]),
        "cpus": thread::available_parallelism().map_or(0, usize::from),
        "echo": {"sockets": ECHO_SOCKETS, "bytes": ECHO_BYTES, "echoes_per_socket": ECHOES},
        "fan_out": {"sockets": FAN_SOCKETS, "bytes": FAN_BYTES, "messages_per_socket": FANS},
        "rounds": ROUNDS,
        "idle": {"sockets": IDLE_SOCKETS, "resident_bytes_per_socket": idle.iter().cloned().collect::<BTreeMap<_, _>>()},
        "servers": engines,
    })
}

/// Median of the ratios of the rounds, so that what slows a whole round falls out.
fn ratio(samples: &[u64], raw: &[u64]) -> f64 {
    let mut ratios: Vec<_> = samples.iter().zip(raw).map(|(a, b)| *a as f64 / *b as f64).collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[(ratios.len() - 1) / 2] * 1_000.0).round() / 1_000.0
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) / 2]
}

fn answer(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
