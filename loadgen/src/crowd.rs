//! Many clients on one thread.
//!
//! The thread's reactor wakes it for whatever socket has something; the clients share one read buffer. A client that
//! ends stays away and is told in the [`CrowdReport`].

use std::{cell::RefCell, io, rc::Rc, thread, time::Instant};

use tokio::{
    runtime::Builder,
    sync::{Semaphore, oneshot},
    task::LocalSet,
    time::timeout,
};

use crate::{
    client::{Client, ClientError, Push},
    limits::{CONNECT_TIMEOUT, CONNECTING_MAX, READ_BYTES},
};

/// Who takes the pushes of a crowd, on its thread.
pub trait Sink: Send + 'static {
    /// A push came; `read_at` is the time just after the read that brought it.
    fn take(&mut self, push: &Push<'_>, read_at: Instant);
}

/// A connected crowd.
#[derive(Debug)]
pub struct Crowd<S> {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<io::Result<(S, CrowdReport)>>,
}

/// What became of a crowd.
#[derive(Debug, Default)]
pub struct CrowdReport {
    /// Pushes received, and so acknowledged; repetitions count.
    pub pushes: u64,
    /// Clients that ended by themselves, and why.
    pub ended: Vec<String>,
}

struct State<S> {
    taker: Taker<S>,
    scratch: Vec<u8>,
}

struct Taker<S> {
    sink: S,
    report: CrowdReport,
}

impl<S: Sink> Taker<S> {
    fn take(&mut self, push: &Push<'_>, read_at: Instant) {
        self.report.pushes += 1;
        self.sink.take(push, read_at);
    }
}

impl<S: Sink> Crowd<S> {
    /// Connects one client per token to `host:port`; returns once all are greeted.
    pub fn connect(address: String, tokens: Vec<String>, sink: S) -> Result<Self, ClientError> {
        let (stop, stopped) = oneshot::channel();
        let (connected, all_connected) = std::sync::mpsc::channel();
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let taker = Taker { sink, report: CrowdReport::default() };
            let state = Rc::new(RefCell::new(State { taker, scratch: vec![0; READ_BYTES] }));
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                // The receiver waits until this is said, so it is there.
                let _ = connected.send(serve_all(address, tokens, &state).await);
                let _ = stopped.await;
            });
            drop(local);
            let Taker { sink, report } = Rc::into_inner(state).expect("the clients are gone").into_inner().taker;
            Ok((sink, report))
        };
        let thread = thread::Builder::new().name("crowd".into()).spawn(run)?;
        match all_connected.recv() {
            Ok(result) => result.map(|()| Self { stop, thread }),
            Err(_) => Err(io::Error::other("the crowd's thread did not start").into()),
        }
    }

    /// Ends all clients, without a close frame.
    pub fn stop(self) -> io::Result<(S, CrowdReport)> {
        // If the thread has ended already, joining tells why.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| io::Error::other("the crowd's thread panicked"))?
    }
}

async fn serve_all<S: Sink>(
    address: String,
    tokens: Vec<String>,
    state: &Rc<RefCell<State<S>>>,
) -> Result<(), ClientError> {
    let address: Rc<str> = address.into();
    let room = Rc::new(Semaphore::new(CONNECTING_MAX));
    let mut greeted = Vec::with_capacity(tokens.len());
    for token in tokens {
        let (address, room, state) = (Rc::clone(&address), Rc::clone(&room), Rc::clone(state));
        let (tell, told) = oneshot::channel();
        greeted.push(told);
        tokio::task::spawn_local(async move {
            let permit = room.acquire().await;
            let mut take = |push: Push<'_>| state.borrow_mut().taker.take(&push, Instant::now());
            let connecting = timeout(CONNECT_TIMEOUT, Client::connect(&address, &token, &mut take)).await;
            drop(permit);
            match connecting.unwrap_or(Err(ClientError::Slow(CONNECT_TIMEOUT))) {
                Ok(client) => {
                    let _ = tell.send(Ok(()));
                    serve(client, &state).await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
    }
    for told in greeted {
        told.await.unwrap_or_else(|_| Err(io::Error::other("a client's task ended").into()))?;
    }
    Ok(())
}

async fn serve<S: Sink>(mut client: Client, state: &RefCell<State<S>>) {
    let error = loop {
        if let Err(error) = client.ready().await {
            break error.into();
        }
        let State { taker, scratch } = &mut *state.borrow_mut();
        let mut read_at = None;
        let turned = client.turn(scratch, &mut |push| taker.take(&push, *read_at.get_or_insert_with(Instant::now)));
        if let Err(error) = turned {
            break error;
        }
    };
    state.borrow_mut().taker.report.ended.push(error.to_string());
}
