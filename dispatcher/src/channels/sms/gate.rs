//! Where a call is handed over: before the first byte of the request, and behind names, connection and TLS.
//!
//! A call is made on one thread from its beginning to its end, and a connection is used by many calls: which call it is stands with the thread.

use std::cell::RefCell;

use ureq::{
    Error,
    unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport},
};

use crate::{
    channels::is_late,
    core::account::{Parcel, Sending, Turn},
};

/// A call that hands a parcel over.
#[derive(Debug)]
pub(super) struct HandOver {
    sending: Sending,
    turn: Turn,
    expires_ms: u64,
}

/// How far a call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// Nothing of it was written.
    Nowhere,
    /// Something of it may have been.
    Out,
    /// It was too late, and nothing was written.
    Late,
    /// The attempt was given up, and nothing was written.
    Unwanted,
}

thread_local! {
    static CALL: RefCell<(Option<HandOver>, Got)> = const { RefCell::new((None, Got::Nowhere)) };
}

impl HandOver {
    /// That of the attempt that is made now.
    pub(super) fn of(parcel: &Parcel) -> Self {
        Self { sending: parcel.sending.clone(), turn: parcel.sending.turn(), expires_ms: parcel.expires_ms }
    }

    fn pass(&self) -> Got {
        if is_late(self.expires_ms) {
            Got::Late
        } else if self.sending.hand_over_in(self.turn) {
            Got::Out
        } else {
            Got::Unwanted
        }
    }
}

/// Makes a call on this thread; how far it got.
pub(super) fn through<T>(hand_over: Option<HandOver>, call: impl FnOnce() -> T) -> (T, Got) {
    CALL.set((hand_over, Got::Nowhere));
    let answer = call();
    (answer, CALL.replace((None, Got::Nowhere)).1)
}

fn passes() -> bool {
    CALL.with_borrow_mut(|(hand_over, got)| {
        if *got == Got::Nowhere {
            *got = hand_over.as_ref().map_or(Got::Out, HandOver::pass);
        }
        *got == Got::Out
    })
}

/// Puts the gate before connections that are ready for a request.
#[derive(Debug)]
pub(super) struct Gate;

impl<In: Transport> Connector<In> for Gate {
    type Out = Gated<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Gated<In>>, Error> {
        Ok(chained.map(Gated))
    }
}

/// A connection behind the gate.
#[derive(Debug)]
pub(super) struct Gated<In>(In);

impl<In: Transport> Transport for Gated<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !passes() {
            return Err(Error::ConnectionFailed);
        }
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
