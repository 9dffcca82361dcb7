//! A dispatcher's end of a link, written by hand.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use pushgate_gateway::boot::RunningGateway;
use pushgate_protocol::{
    ids::{BootId, Epoch, ShardId},
    link::{
        Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway,
        handshake::{Handshake, Hello, Side, prove, proves},
        take_frame,
        tls::Veil,
    },
    placement,
};

use super::server::{LINK_KEY, PATIENCE};

pub struct Peer {
    pub stream: TcpStream,
    veil: Option<Veil>,
    input: Vec<u8>,
    pub hash_seed: u64,
    pub shards: u16,
    /// Bytes of frames sent since the link is up.
    pub written: u64,
}

impl Peer {
    /// A link that is up.
    pub fn connect(gateway: &RunningGateway, shard: u16) -> Self {
        Self::connect_with(gateway, LINK_KEY, BootId(77), shard).unwrap()
    }

    /// A link, or why it was refused.
    pub fn connect_with(gateway: &RunningGateway, key: &str, boot: BootId, shard: u16) -> Result<Self, String> {
        Self::connect_under(None, gateway, key, boot, shard)
    }

    /// The same with TLS, if there is some.
    pub fn connect_under(
        veil: Option<Veil>,
        gateway: &RunningGateway,
        key: &str,
        boot: BootId,
        shard: u16,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(gateway.links()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut peer = Self { stream, veil, input: Vec::new(), hash_seed: 0, shards: 0, written: 0 };
        peer.veiled()?;
        let (nonce, shard) = ([5; 32], ShardId(shard));
        let epoch = Epoch::default();
        let hello = Hello { version_min: 1, version_max: 1, boot, shard, epoch, nonce, node: "d1" };
        peer.shake(&Handshake::Hello(hello));
        let body = peer.next()?.ok_or("closed")?;
        let (theirs, their_boot) = match Handshake::decode(&body).unwrap() {
            Handshake::Challenge(c) => {
                let right = proves(key.as_bytes(), Side::Gateway, (&nonce, boot, shard), (&c.nonce, c.boot), &c.proof);
                assert_eq!(right, key == LINK_KEY);
                (peer.hash_seed, peer.shards) = (c.hash_seed, c.shards);
                (c.nonce, c.boot)
            }
            Handshake::Refused(why) => return Err(why.to_owned()),
            other => panic!("{other:?}"),
        };
        let proof = prove(key.as_bytes(), Side::Peer, (&nonce, boot, shard), (&theirs, their_boot));
        peer.shake(&Handshake::Proof(proof));
        match Handshake::decode(&peer.body()).unwrap() {
            Handshake::Ready(credits) => {
                assert_eq!(credits, pushgate_protocol::limits::LINK_CREDIT_BYTES);
                Ok(peer)
            }
            Handshake::Refused(why) => Err(why.to_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// Shakes hands by TLS.
    fn veiled(&mut self) -> Result<(), String> {
        let Some(veil) = &mut self.veil else { return Ok(()) };
        let (mut buffer, mut read) = ([0; 4096], 0);
        loop {
            let mut out = Vec::new();
            let taken = veil.take(&mut buffer[..read], &mut self.input, &mut out);
            self.stream.write_all(&out).unwrap();
            taken.map_err(|trouble| trouble.to_string())?;
            if !veil.is_shaking() {
                return Ok(());
            }
            read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "closed during the handshake of TLS");
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut sealed = Vec::new();
        match &mut self.veil {
            Some(veil) => veil.seal(bytes, &mut sealed).unwrap(),
            None => sealed.extend_from_slice(bytes),
        }
        self.stream.write_all(&sealed).unwrap();
    }

    fn shake(&mut self, frame: &Handshake<'_>) {
        let mut out = Vec::new();
        frame.encode(&mut out);
        self.write(&out);
    }

    /// The next frame's body.
    pub fn body(&mut self) -> Vec<u8> {
        self.body_or_end().expect("the gateway closed the link")
    }

    pub fn body_or_end(&mut self) -> Option<Vec<u8>> {
        self.next().unwrap()
    }

    /// The next frame's body, the end, or what TLS has against more.
    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some((body, used)) = take_frame(&self.input).unwrap() {
                let body = body.to_vec();
                self.input.drain(..used);
                return Ok(Some(body));
            }
            let mut buf = [0; 4096];
            match self.stream.read(&mut buf) {
                Ok(0) => return Ok(None),
                Ok(n) => match &mut self.veil {
                    Some(veil) => {
                        let taken = veil.take(&mut buf[..n], &mut self.input, &mut Vec::new());
                        taken.map_err(|trouble| trouble.to_string())?;
                    }
                    None => self.input.extend_from_slice(&buf[..n]),
                },
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Reads until a frame gives something.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&ToDispatcher<'_>) -> Option<T>) -> T {
        loop {
            let body = self.body();
            if let Some(found) = wanted(&ToDispatcher::decode(&body).unwrap()) {
                return found;
            }
        }
    }

    pub fn say(&mut self, frame: &ToGateway<'_>) {
        let mut out = Vec::new();
        frame.encode(&mut out);
        self.write(&out);
        self.written += out.len() as u64;
    }

    /// The shard that owns `user` of the tests' app.
    pub fn owner(&self, user: &str) -> u16 {
        placement::shard_of(placement::user_hash(self.hash_seed, "shop", user), self.shards).0
    }

    /// `count` users of each shard in turn: which they are is another matter for each gateway, whose seed is drawn.
    pub fn users_of_each_shard(&self, count: usize) -> Vec<String> {
        let of = |shard| (0..).map(|n| format!("user-{n}")).filter(move |user| self.owner(user) == shard).take(count);
        (0..self.shards).flat_map(of).collect()
    }

    /// Waits for `user` to come online and says that its stream is empty.
    pub fn replay_nothing(&mut self, user: &str) {
        let (episode, round) = self.until(|f| match f {
            ToDispatcher::Online { user: u, episode, round, .. } if *u == user => Some((*episode, *round)),
            _ => None,
        });
        self.say(&ToGateway::Replayed { app: "shop", user, episode, round, k: 0, all: 0 });
    }

    pub fn push(&mut self, reference: u64, lane: Lane, user: &str, id: &str) {
        self.push_padded(reference, lane, user, id, 1);
    }

    /// A push with a title of `bytes`.
    pub fn push_padded(&mut self, reference: u64, lane: Lane, user: &str, id: &str, bytes: usize) {
        let tail = format!("\"id\":\"{id}\",\"title\":\"{}\"}}", "t".repeat(bytes));
        self.say(&ToGateway::Push(Push {
            reference,
            lane,
            ack: true,
            replay: false,
            policy: OutboxPolicy::Close,
            collapse: None,
            place: Place::NONE,
            platforms: 0,
            epoch: Epoch::default(),
            expires_ms: u64::MAX,
            app: "shop",
            user,
            target: Target::User,
            id,
            tail: tail.as_bytes(),
        }));
    }

    /// Waits for the acknowledgement of a push.
    pub fn acked(&mut self, reference: u64) -> Option<String> {
        self.until(|f| match f {
            ToDispatcher::Acked { reference: r, device } if *r == reference => Some(device.map(str::to_owned)),
            ToDispatcher::Offline { .. } | ToDispatcher::Deferred { .. } | ToDispatcher::Returned { .. } => {
                panic!("expected an acknowledgement, got {f:?}")
            }
            _ => None,
        })
    }
}
