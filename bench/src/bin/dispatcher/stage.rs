//! What a row acts on: services, a dispatcher with a gateway, and the clients of that.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pushgate_bench::{
    installation::{APP, Installation, SECRET, Variant},
    record::root,
    services::Services,
    usage::process_times,
};
use pushgate_dispatcher::{
    kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer},
    seams::{Intake, NewRecord},
};
use pushgate_loadgen::{
    clock::Clock,
    fleet::{Acknowledge, Fleet, FleetOptions},
    rest::RestConnection,
    verify::Judge,
};
use pushgate_protocol::link::Lane;
use tokio::{runtime::Runtime, sync::Mutex, task::JoinSet};

use crate::{
    options::Options,
    traffic::{RUN, Traffic},
};

/// Nothing that is waited for should take this long.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// Records handed to Kafka together, and how many such batches are under way.
const PUT_RECORDS: usize = 1_000;
const PUTS: usize = 16;
/// How often numbers of the dispatcher are asked for: what it costs to tell them is measured with the rest.
const LOOK: Duration = Duration::from_millis(100);

/// Processes at work.
pub struct Stage {
    /// Dispatcher and gateway.
    pub installation: Installation,
    /// Kafka and Redis; they end after the processes.
    pub services: Arc<Services>,
    intake: Arc<dyn Intake>,
    runtime: Runtime,
    clock: Clock,
}

impl Stage {
    /// Services without data, and one installation.
    pub fn open(options: &Options, variant: Variant<'_>) -> Result<Self, Box<dyn Error>> {
        let services = Arc::new(Services::up(root(), options.scratch().join("services"))?);
        Self::beside(options, services, variant)
    }

    /// Another installation with the same services.
    pub fn beside(options: &Options, services: Arc<Services>, variant: Variant<'_>) -> Result<Self, Box<dyn Error>> {
        let config =
            KafkaConfig { brokers: services.kafka.clone(), prefix: variant.prefix.into(), ..Default::default() };
        let producer = KafkaProducer::new(&config, KafkaHealth::new())?;
        let intake = Arc::new(KafkaIntake::new(&config, producer));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let installation = Installation::cluster(&options.bin, &options.scratch(), &services, variant)?;
        Ok(Self { installation, services, intake, runtime, clock: Clock::start() })
    }

    /// Connects client `n` for user `n`.
    pub fn crowd(&self, users: u32, acknowledge: Acknowledge) -> Result<Fleet, Box<dyn Error>> {
        self.crowd_of(0, users, acknowledge)
    }

    /// Connects client `n` for the user whose name is `n` further than the first.
    pub fn crowd_of(&self, first: u32, users: u32, acknowledge: Acknowledge) -> Result<Fleet, Box<dyn Error>> {
        let mint = Installation::minter()?;
        let tokens = Arc::new(move |client| mint(first + client));
        let server = self.installation.clients.parse()?;
        let judge = Judge::of(RUN);
        let options = FleetOptions { judge, acknowledge, ..FleetOptions::new(server, users, tokens) };
        let fleet = Fleet::start(options, self.clock)?;
        fleet.connect(0..users);
        fleet.wait("all greeted", PATIENCE, |t| t.open == u64::from(users))?;
        Ok(fleet)
    }

    /// The clock of messages and clients.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The id of a process.
    pub fn pid(&self, role: &str) -> Result<u32, Box<dyn Error>> {
        self.installation.pid(role).ok_or_else(|| format!("no {role} runs").into())
    }

    /// Says who runs, and leaves time for whoever asked for it.
    pub fn announce(&self, options: &Options) {
        if options.pause_s > 0 {
            eprintln!("{:?}; services {:?}", self.installation.processes(), self.services.processes());
            thread::sleep(Duration::from_secs(options.pause_s));
        }
    }

    /// Puts so many messages into a lane; returns once they are durable.
    pub fn put(&self, lane: Lane, traffic: &mut Traffic, count: u64) -> Result<(), Box<dyn Error>> {
        let clock = self.clock;
        self.runtime.block_on(async {
            let mut under_way = JoinSet::new();
            let mut left = count;
            while left > 0 {
                let records: Vec<NewRecord> =
                    (0..left.min(PUT_RECORDS as u64)).map(|_| traffic.next_record(clock.now_us())).collect();
                left -= records.len() as u64;
                let intake = Arc::clone(&self.intake);
                under_way.spawn(async move { intake.append(lane, records).await });
                if under_way.len() >= PUTS
                    && let Some(done) = under_way.join_next().await
                {
                    done??;
                }
            }
            while let Some(done) = under_way.join_next().await {
                done??;
            }
            Ok(())
        })
    }

    /// Puts these into a lane; returns once they are durable.
    pub fn append(&self, lane: Lane, records: Vec<NewRecord>) -> Result<(), Box<dyn Error>> {
        Ok(self.runtime.block_on(self.intake.append(lane, records)).map(drop)?)
    }

    /// Puts one message into a lane; returns at once, durable or not.
    pub fn put_one(&self, lane: Lane, record: NewRecord) {
        let intake = Arc::clone(&self.intake);
        // A message that is not taken is not received either, which whoever sent it waits for.
        self.runtime.spawn(async move { intake.append(lane, vec![record]).await });
    }

    /// What Redis has allocated, bytes.
    pub fn redis_memory(&self) -> Result<u64, Box<dyn Error>> {
        let mut stream = TcpStream::connect(self.services.redis.trim_start_matches("redis://"))?;
        stream.write_all(b"*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n")?;
        let mut answer = String::new();
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if let Some(bytes) = line.strip_prefix("used_memory:") {
                return Ok(bytes.parse()?);
            }
            answer = line;
        }
        Err(format!("redis does not tell its memory: {answer}").into())
    }

    /// Sends messages at a rate, each at its time, whatever became of those before it, until `done`; returns once all are durable.
    pub fn pace(&self, lane: Lane, traffic: &mut Traffic, per_s: u64, done: &AtomicBool) -> Result<(), Box<dyn Error>> {
        let (start, start_us) = (Instant::now(), self.clock.now_us());
        let mut under_way = Vec::new();
        for n in 0u64.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let after_us = n * 1_000_000 / per_s;
            thread::sleep((start + Duration::from_micros(after_us)).saturating_duration_since(Instant::now()));
            let record = traffic.next_record(start_us + after_us);
            let intake = Arc::clone(&self.intake);
            under_way.push(self.runtime.spawn(async move { intake.append(lane, vec![record]).await }));
        }
        self.runtime.block_on(async {
            for append in under_way {
                append.await??;
            }
            Ok(())
        })
    }

    /// Records of a lane that the dispatcher has settled.
    pub fn settled(&self, lane: Lane) -> Result<u64, Box<dyn Error>> {
        let name = format!("pushgate_dispatcher_records_settled_total{{lane=\"{}\"}}", lane.as_str());
        Ok(self.installation.metric(&name)? as u64)
    }

    /// Waits until so many are settled.
    pub fn await_settled(&self, lane: Lane, count: u64) -> Result<(), Box<dyn Error>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let settled = self.settled(lane)?;
            if settled >= count {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{settled} of {count} records are settled after {PATIENCE:?}").into());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until dispatcher and gateway have nothing to do: users that connected are replayed by then.
    pub fn await_quiet(&self) -> Result<(), Box<dyn Error>> {
        let pids = [self.pid("dispatcher")?, self.pid("gateway")?];
        let spent = || pids.into_iter().flat_map(process_times).sum::<u64>();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let before = spent();
            thread::sleep(Duration::from_secs(1));
            // An idle crowd has heartbeats, and an idle dispatcher polls.
            if spent() - before <= 10 {
                return Ok(());
            }
        }
        Err("dispatcher and gateway do not come to rest".into())
    }
}

/// Connections to REST, for whoever has one to itself.
pub async fn rest_connections(address: &str, count: usize) -> std::io::Result<Vec<Mutex<RestConnection>>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Mutex::new(RestConnection::connect(address, APP, SECRET).await?));
    }
    Ok(connections)
}
