//! Clients: they connect, receive, acknowledge late or at once, vanish and come back.

use pushgate_gateway::crowd::{ConnId, Gone};
use pushgate_protocol::{
    ids::SessionId,
    ws::{Decoder, Event as WsEvent, Opcode, Rules, write},
};

use crate::world::{Event, World};

/// One device of one user.
pub struct Client {
    pub user: usize,
    pub device: usize,
    pub conn: Option<usize>,
    /// It acknowledges late, past deadlines.
    pub lazy: bool,
    /// It connects anywhere and ignores where it is sent.
    pub anywhere: bool,
    /// The session it had last and the last push it got there.
    resume: Option<(SessionId, u64)>,
}

/// A connection, while either side knows of it.
pub struct Conn {
    pub client: usize,
    pub g: usize,
    pub g_run: u64,
    pub s: u16,
    /// Its name at the shard, until the shard knows that it is gone.
    pub id: Option<ConnId>,
    /// Bytes under way either way are lost.
    pub cut: bool,
    /// The client gave it up or saw it end.
    pub left: bool,
    pub session: Option<SessionId>,
    /// When the shard took it; of a guest, when its user's owner learned of it.
    pub attached_ms: u64,
    seq: u64,
    acking: bool,
    decoder: Decoder,
    to_client: u64,
    to_shard: u64,
}

/// A push that a client got.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub client: usize,
    pub conn: usize,
    pub id: String,
    pub at: u64,
    /// What the clock of its gateway showed when it left there.
    pub sent_unix_ms: u64,
}

impl Client {
    pub fn new(user: usize, device: usize, [lazy, anywhere]: [bool; 2]) -> Self {
        Self { user, device, conn: None, lazy, anywhere, resume: None }
    }
}

impl World {
    /// A client that is to be online tries to connect.
    pub fn connect(&mut self, c: usize) {
        if self.clients[c].conn.is_some() {
            return;
        }
        let user = self.clients[c].user;
        let key = crate::log::Message::key(user);
        let owner = self.routing.owner(key.app.as_str(), key.user.as_str()).map(|m| m.node.clone());
        let owner =
            self.gateways.iter().position(|g| Some(&g.node) == owner.as_ref()).expect("every user has an owner");
        let any = self.random.below(self.gateways.len() as u64) as usize;
        let g = if self.clients[c].anywhere { any } else { owner };
        if !self.gateways[g].alive {
            self.after_some(50, 400, Event::Connect { client: c });
            return;
        }
        let conn = self.conns.len();
        self.conns.push(Conn {
            client: c,
            g,
            g_run: self.gateways[g].run,
            s: self.gateways[g].shard_of(user),
            id: None,
            cut: false,
            left: false,
            session: None,
            attached_ms: 0,
            seq: 0,
            acking: false,
            decoder: Decoder::default(),
            to_client: 0,
            to_shard: 0,
        });
        self.clients[c].conn = Some(conn);
        self.after_some(1, 30, Event::Attach { conn });
    }

    pub fn arrive(&mut self, conn: usize) {
        let Conn { client, g, g_run, left, .. } = self.conns[conn];
        if left || self.conns[conn].cut || !self.stands(g, g_run) {
            return;
        }
        let c = &self.clients[client];
        let resume = c.resume;
        let open = self.session_open(c.user, c.device, resume);
        let session = self.attach(conn, open);
        self.conns[conn].attached_ms = self.now;
        self.trace(|| format!("client {client} attaches as {session} (conn {conn}), resumes {resume:?}"));
        if self.slow_clients && self.random.one_in(4) {
            self.stall(conn, true);
        }
    }

    fn stall(&mut self, conn: usize, stalled: bool) {
        let Conn { g, g_run, s, id: Some(id), .. } = self.conns[conn] else { return };
        if self.stands(g, g_run) {
            self.gateways[g].shards[usize::from(s)].pipes.stall(id, stalled);
            self.flush(g, s);
            if stalled {
                self.after_some(500, 4_000, Event::Unstall { conn });
            }
        }
    }

    pub fn unstall(&mut self, conn: usize) {
        self.stall(conn, false);
    }

    pub fn send_to_client(&mut self, conn: usize, bytes: Vec<u8>, sent_unix_ms: u64) {
        let delay = self.random.delay();
        let c = &mut self.conns[conn];
        c.to_client = c.to_client.max(self.now + delay);
        let at = c.to_client;
        self.at(at, Event::ToClient { conn, bytes, sent_unix_ms });
    }

    /// The shard closed: the client sees it after all that was sent before.
    pub fn close_to_client(&mut self, conn: usize) {
        let at = self.conns[conn].to_client.max(self.now);
        self.at(at, Event::ClientGone { conn });
        self.conn_gone_at_shard(conn, Gone::Closed);
    }

    pub fn bytes_at_client(&mut self, conn: usize, mut bytes: Vec<u8>, sent_unix_ms: u64) {
        if self.conns[conn].cut || self.conns[conn].left {
            return;
        }
        let rules = Rules { masked: false, message_bytes_max: 1 << 20, deflate: false };
        let mut decoder = std::mem::take(&mut self.conns[conn].decoder);
        let mut at = 0;
        loop {
            match decoder.next(&rules, &mut bytes[at..]).expect("the shard speaks RFC 6455") {
                (_, None) => break,
                (used, Some(WsEvent::Text(text))) => {
                    at += used;
                    let said: serde_json::Value = serde_json::from_str(text).expect("the shard speaks JSON");
                    self.heard(conn, &said, sent_unix_ms);
                }
                (used, Some(_)) => at += used,
            }
        }
        self.conns[conn].decoder = decoder;
    }

    fn heard(&mut self, conn: usize, said: &serde_json::Value, sent_unix_ms: u64) {
        let client = self.conns[conn].client;
        match said["type"].as_str() {
            Some("hello") => {
                let session = said["session"].as_str().and_then(|s| SessionId::parse(s).ok());
                self.conns[conn].session = session;
                self.clients[client].resume = session.map(|s| (s, 0));
            }
            Some("push") => {
                let (seq, id) = (said["seq"].as_u64().expect("a number"), said["id"].as_str().expect("an id"));
                self.trace(|| format!("client {client} got {id} as {seq} (conn {conn})"));
                self.conns[conn].seq = seq;
                self.clients[client].resume = self.conns[conn].session.map(|s| (s, seq));
                self.receipts.push(Receipt { client, conn, id: id.into(), at: self.now, sent_unix_ms });
                if !std::mem::replace(&mut self.conns[conn].acking, true) {
                    let (low, high) = if self.clients[client].lazy { (500, 6_000) } else { (0, 100) };
                    self.after_some(low, high, Event::Ack { conn });
                }
            }
            Some("recall") => {
                let id = said["id"].as_str().expect("an id").to_owned();
                self.trace(|| format!("client {client} is told that {id} was taken back (conn {conn})"));
                self.told.insert((conn, id));
            }
            Some(_) => {}
            None => panic!("a frame without type: {said}"),
        }
    }

    pub fn acknowledge(&mut self, conn: usize) {
        self.conns[conn].acking = false;
        if self.conns[conn].left {
            return;
        }
        let text = format!(r#"{{"type":"ack","seq":{}}}"#, self.conns[conn].seq);
        let mut bytes = Vec::new();
        write::masked(&mut bytes, Opcode::Text, true, [1, 2, 3, 4], text.as_bytes());
        let delay = self.random.delay();
        let c = &mut self.conns[conn];
        c.to_shard = c.to_shard.max(self.now + delay);
        let at = c.to_shard;
        self.at(at, Event::ToShard { conn, bytes });
    }

    /// A client goes away: in order, or with everything under way lost.
    pub fn disconnect(&mut self, c: usize) {
        let Some(conn) = self.clients[c].conn.take() else { return };
        let abrupt = self.random.one_in(2);
        self.trace(|| format!("client {c} leaves (conn {conn}), abruptly {abrupt}"));
        self.conns[conn].left = true;
        self.conns[conn].cut |= abrupt;
        if self.random.one_in(3) {
            self.clients[c].resume = None;
        }
        let at =
            if abrupt { self.now + self.random.between(0, 1_000) } else { self.conns[conn].to_shard.max(self.now) };
        self.at(at, Event::ShardGone { conn });
    }

    /// The client sees its connection end.
    pub fn client_gone(&mut self, conn: usize) {
        self.conns[conn].left = true;
        let c = self.conns[conn].client;
        if self.clients[c].conn == Some(conn) {
            self.trace(|| format!("client {c} sees its end (conn {conn})"));
            self.clients[c].conn = None;
            self.after_some(1, 500, Event::Connect { client: c });
        }
    }
}
