//! A connection during the link handshake, with TLS or without: its first byte tells.

use monoio::{
    buf::IoBufMut,
    io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt},
};
use pushgate_protocol::link::tls::{LinkTls, Veil, is_tls};

use super::{Failure, handshake::Refusal};
use crate::{limits, shard::deadline::Timed};

/// Such a connection.
pub(super) struct Entrance {
    pub(super) timed: Timed,
    /// Set if it has TLS.
    pub(super) veil: Option<Box<Veil>>,
}

impl Entrance {
    pub(super) fn new(timed: Timed) -> Self {
        Self { timed, veil: None }
    }

    /// Reads the first bytes, and shakes hands if they are TLS; what the peer said then stands in `bytes`.
    pub(super) async fn begin(&mut self, tls: Option<&LinkTls>, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        self.receive(bytes).await?;
        let speaks_tls = bytes.first().is_some_and(|first| is_tls(*first));
        match (speaks_tls, tls) {
            (true, Some(tls)) => {
                let sealed = std::mem::take(bytes);
                self.shake(tls, sealed, bytes).await
            }
            (true, None) => Err(Refusal::Encrypted.into()),
            (false, Some(tls)) if tls.requires() => Err(Refusal::Plain.into()),
            (false, _) => Ok(()),
        }
    }

    /// Appends more of what the peer says to `bytes`.
    pub(super) async fn read(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        if self.veil.is_none() {
            return self.receive(bytes).await;
        }
        let before = bytes.len();
        while bytes.len() == before {
            let mut sealed = Vec::new();
            self.receive(&mut sealed).await?;
            self.unveil(&mut sealed, bytes).await?;
        }
        Ok(())
    }

    /// Tells the peer something.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let bytes = match &mut self.veil {
            Some(veil) => {
                let mut sealed = Vec::new();
                veil.seal(&bytes, &mut sealed).map_err(Failure::Tls)?;
                sealed
            }
            None => bytes,
        };
        self.send(bytes).await
    }

    async fn shake(&mut self, tls: &LinkTls, mut sealed: Vec<u8>, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        self.veil = Some(Box::new(tls.accept().map_err(Failure::Tls)?));
        loop {
            self.unveil(&mut sealed, bytes).await?;
            if self.veil.as_ref().is_some_and(|veil| !veil.is_shaking()) {
                return Ok(());
            }
            sealed.clear();
            self.receive(&mut sealed).await?;
        }
    }

    /// Takes what was received, and answers what TLS has to answer.
    async fn unveil(&mut self, sealed: &mut [u8], bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(veil) = &mut self.veil else { return Ok(()) };
        let mut outgoing = Vec::new();
        let taken = veil.take(sealed, bytes, &mut outgoing);
        if !outgoing.is_empty() {
            self.send(outgoing).await?;
        }
        match taken {
            Ok(()) => Ok(()),
            Err(trouble) => {
                self.linger().await;
                Err(Failure::Tls(trouble))
            }
        }
    }

    /// The peer may have said more before it hears why there is no link; closed over that, the connection would be reset, and the reason lost.
    async fn linger(&mut self) {
        if self.timed.stream().shutdown().await.is_err() {
            return;
        }
        for _ in 0..limits::LINK_LINGER_READS {
            if self.receive(&mut Vec::new()).await.is_err() {
                return;
            }
        }
    }

    async fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let mut buffer = std::mem::take(bytes);
        let start = buffer.len();
        buffer.reserve(limits::LINK_HANDSHAKE_BYTES_MAX);
        let (result, slice) = self.timed.stream().read(buffer.slice_mut(start..)).await;
        *bytes = slice.into_inner();
        if matches!(result, Ok(n) if n > 0) { Ok(()) } else { Err(Failure::Gone) }
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        self.timed.stream().write_all(bytes).await.0.map(drop).map_err(|_| Failure::Gone)
    }
}
