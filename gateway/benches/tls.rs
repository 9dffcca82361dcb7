//! What TLS costs a gateway: private memory per idle session, processor time per handshake and per message of a fan-out.
//!
//! `cargo bench -p pushgate-gateway --bench tls [-- --record]`. A gateway of one shard runs in this process, its clients in
//! another; what is bare and what is under TLS takes turns. `--record` writes `bench/results/tls.json`.

#![allow(clippy::unwrap_used, reason = "a measurement that fails has nothing to clean up")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pushgate_gateway::{
    boot::{StartOptions, start},
    config::{EngineChoice, GatewayConfig},
    crowd::{ConnId, Crowd, Gone, Handler, Outgoing, Settings, engine::Engine},
    tls::{
        crowd::TlsCrowd,
        keys::{Agreed, Suite},
        records::Records,
    },
};
use pushgate_protocol::{
    apps::AppConfig,
    auth::{Apps, ClientIdentity},
    ids::{AppId, DeviceId, UserId},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, Stream,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};

const SESSIONS: usize = 6_000;
const ROUNDS: usize = 10;
const FAN_SOCKETS: usize = 2_000;
const FAN_BYTES: usize = 128;
const FANS: usize = 20;
const NAME: &str = "push.example";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // Without this, a test run over all targets would take the time of a measurement.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--clients") {
        return clients(arguments[at + 1].parse().unwrap(), arguments.get(at + 2).filter(|ca| *ca != "-"));
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--idle") {
        return println!("{}", idle(arguments[at + 1] == "tls"));
    }
    // Each in a process of its own, or one would live in the memory that the other gave back.
    let this = std::env::current_exe().unwrap().display().to_string();
    let sessions = ["bare", "tls"].map(|kind| answer(&this, &["--bench", "--idle", kind]));
    let sessions = sessions.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let mut fans: [Vec<u64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        fans[0].push(fan_out_ns(None, 1));
        fans[1].push(fan_out_ns(Some(Suite::V13Aes128), 1));
        fans[2].push(fan_out_ns(Some(Suite::V13Aes256), 1));
    }
    let median = fans.each_ref().map(|samples| median(samples));
    let report = json!({
        "what": "a gateway of one shard on io_uring, bare and under TLS 1.3",
        "command": "cargo bench -p pushgate-gateway --bench tls -- --record",
        "commit": answer("git", &["rev-parse", "HEAD"]),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "kernel": answer("uname", &["-sr"]),
        "cpus": thread::available_parallelism().map_or(0, usize::from),
        "idle": { "sessions": [SESSIONS, 2 * SESSIONS], "bare": sessions[0], "tls": sessions[1] },
        "fan_out": {
            "sockets": FAN_SOCKETS, "bytes": FAN_BYTES, "messages_per_socket": FANS, "rounds": ROUNDS,
            "ns": { "bare": fans[0], "tls13_aes128": fans[1], "tls13_aes256": fans[2] },
            "ns_median": { "bare": median[0], "tls13_aes128": median[1], "tls13_aes256": median[2] },
            "cost_to_bare": { "tls13_aes128": ratio(&fans[1], &fans[0]), "tls13_aes256": ratio(&fans[2], &fans[0]) },
        },
    });
    println!("{report:#}");
    if arguments.iter().any(|argument| argument == "--record") {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/results");
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("tls.json"), format!("{report:#}\n")).unwrap();
    }
}

/// Growth of private memory from `SESSIONS` to twice as many, and what their handshakes cost.
fn idle(tls: bool) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let any = || "127.0.0.1:0".to_owned();
    let mut config = GatewayConfig {
        listen: any(),
        links: any(),
        admin: any(),
        shards: 1,
        engine: EngineChoice::Uring,
        link_key: Some("a key for links in measurements".into()),
        ..GatewayConfig::default()
    };
    config.limits.heartbeat_s = 3_600;
    config.limits.idle_timeout_ms = 7_200_000;
    if tls {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(path("cert"), cert.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        (config.tls.cert, config.tls.key) = (Some(path("cert")), Some(path("key")));
        config.tls.handshakes_per_s = 100_000;
    }
    let gateway = start(&config, apps(), StartOptions::default()).unwrap();
    let ca = if tls { path("cert") } else { "-".into() };
    let mut clients = Clients::spawn(gateway.listen(), &ca);
    let cpu_before = process_ns();
    let begin = Instant::now();
    clients.connect(SESSIONS);
    let (cpu, took) = (process_ns() - cpu_before, begin.elapsed());
    let first = anonymous_bytes();
    clients.connect(SESSIONS);
    let second = anonymous_bytes();
    let report = json!({
        "anonymous_bytes": [first, second],
        "bytes_per_session": (second - first) / SESSIONS,
        "connects_per_s": (SESSIONS as f64 / took.as_secs_f64()).round(),
        "server_us_per_connect": cpu / 1_000 / SESSIONS as u64,
    });
    drop(clients);
    drop(gateway);
    report
}

/// The clients' process.
struct Clients {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Clients {
    fn spawn(address: SocketAddr, ca: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--bench", "--clients", &address.to_string(), ca])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// Connects `count` more, and waits until the server has settled.
    fn connect(&mut self, count: usize) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{count}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "connected");
        thread::sleep(Duration::from_millis(500));
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Connects as told on stdin, and holds.
fn clients(address: SocketAddr, ca: Option<&String>) {
    let config = ca.map(|path| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config =
            builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    });
    let apps = apps();
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        for _ in 0..line.unwrap().parse().unwrap() {
            let n = held.len();
            let identity = ClientIdentity {
                user: UserId::parse(&format!("user-{n:019}")).unwrap(),
                device: Some(DeviceId::parse(&format!("device-{n:09}")).unwrap()),
                platform: None,
            };
            let token = apps.mint_client(&AppId::parse("shop").unwrap(), &identity, 86_400, now_s).unwrap();
            held.push(connect(address, config.clone(), &token));
        }
        println!("connected");
    }
}

fn connect(address: SocketAddr, config: Option<Arc<ClientConfig>>, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    match config {
        None => greeted(&mut socket, &request),
        Some(config) => {
            let name = ServerName::try_from(NAME).unwrap();
            let mut connection = ClientConnection::new(config, name).unwrap();
            greeted(&mut Stream::new(&mut connection, &mut socket), &request);
        }
    }
    socket
}

fn greeted(stream: &mut (impl Read + Write), request: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut bytes = [0; 2_048];
    while !answer.windows(7).any(|w| w == b"\"hello\"") {
        let n = stream.read(&mut bytes).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..n]);
    }
}

fn apps() -> Arc<Apps> {
    let config: AppConfig = serde_json::from_value(json!({
        "id": "shop",
        "keys": [{ "kind": "jwt", "alg": "HS256", "key": "a key for tokens that only measurements have" }],
    }))
    .unwrap();
    Arc::new(Apps::new(vec![config.resolve(&mut |_| Err("no files".into())).unwrap()]).unwrap())
}

struct Nothing;

impl Handler for Nothing {
    fn received(&mut self, _: ConnId, _: &mut [u8], _: &mut dyn Outgoing) {}

    fn gone(&mut self, _: ConnId, _: Gone, _: &mut dyn Outgoing) {}
}

/// Processor nanoseconds of this thread per message of a fan-out, `messages` of them to each connection in a turn.
fn fan_out_ns(suite: Option<Suite>, messages: usize) -> u64 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let engine = Engine::Uring.open(Settings::default()).unwrap();
    let mut crowd = TlsCrowd::new(engine);
    let mut near = Vec::with_capacity(FAN_SOCKETS);
    let mut conns = Vec::with_capacity(FAN_SOCKETS);
    for _ in 0..FAN_SOCKETS {
        near.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let far = listener.accept().unwrap().0;
        far.set_nodelay(true).unwrap();
        conns.push(match suite {
            None => crowd.insert(far.into()).unwrap(),
            Some(suite) => {
                let agreed = Agreed::from_secret(suite, &[7; 48]);
                crowd.insert_tls(far.into(), Records::new(suite, &agreed, &agreed)).map_err(|e| e.2).unwrap()
            }
        });
    }
    crowd.turn(0, &mut Nothing).unwrap();
    let mut spent = 0;
    let mut scratch = vec![0; 64 * 1_024];
    for _ in 0..FANS {
        let before = thread_ns();
        for conn in &conns {
            for _ in 0..messages {
                crowd.staging(*conn).unwrap().extend_from_slice(&[7; FAN_BYTES]);
            }
        }
        crowd.turn(0, &mut Nothing).unwrap();
        spent += thread_ns() - before;
        for client in &mut near {
            let mut left = messages * FAN_BYTES;
            while left > 0 {
                left = left.saturating_sub(client.read(&mut scratch).unwrap());
            }
        }
    }
    spent / (FAN_SOCKETS * FANS * messages) as u64
}

/// Private memory of this process (proc(5)).
fn anonymous_bytes() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

/// Processor time of this thread.
fn thread_ns() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// Processor time of this process: all its threads.
fn process_ns() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let of = |path: std::path::PathBuf| fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    threads.map(|t| of(t.unwrap().path()).split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)).sum()
}

/// Median of the ratios of the rounds, so that what slows a whole round falls out.
fn ratio(samples: &[u64], base: &[u64]) -> f64 {
    let mut ratios: Vec<_> = samples.iter().zip(base).map(|(a, b)| *a as f64 / *b as f64).collect();
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
