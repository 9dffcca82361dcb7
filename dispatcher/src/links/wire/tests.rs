//! Wires to gateways written by hand, over real sockets.

use std::fs;

use pushgate_protocol::link::tls::{TlsMode, TlsSettings, Trouble};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;

/// The files of a node, of an authority of its own or another's.
struct Node {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Node {
    fn alone(authority: &str, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(dir.path().join("ca"), params.self_signed(&key).unwrap().pem()).unwrap();
        let node = Self { dir, issuer: Issuer::new(params, key) };
        node.sign(&node.dir, name);
        node
    }

    /// Another of the same authority.
    fn beside(&self, name: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(self.dir.path().join("ca"), dir.path().join("ca")).unwrap();
        self.sign(&dir, name);
        dir
    }

    fn sign(&self, dir: &TempDir, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        fs::write(dir.path().join("cert"), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();
    }
}

fn tls(dir: &TempDir, mode: TlsMode) -> LinkTls {
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let settings = TlsSettings { cert_file: path("cert"), key_file: path("key"), ca_file: path("ca"), mode };
    LinkTls::open(settings, Instant::now(), |path| fs::read(path)).unwrap()
}

/// Takes one connection and sends back what it brings; what became of it.
async fn echo(tls: Option<LinkTls>) -> (String, JoinHandle<Result<(), Trouble>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut veil = tls.map(|tls| tls.accept().unwrap());
        let mut buffer = vec![0; 5_000];
        loop {
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                return Ok(());
            }
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let taken = match &mut veil {
                Some(veil) => {
                    veil.take(&mut buffer[..read], &mut plain, &mut out).and_then(|()| match plain.as_slice() {
                        [] => Ok(()),
                        plain => veil.seal(plain, &mut out),
                    })
                }
                None => {
                    // To TLS it answers as links do, without.
                    let is_tls = pushgate_protocol::link::tls::is_tls(buffer[0]);
                    out.extend_from_slice(if is_tls { &[60, 0, 0, 0] } else { &buffer[..read] });
                    Ok(())
                }
            };
            stream.write_all(&out).await.unwrap();
            taken?;
        }
    });
    (address, task)
}

/// Sends so many bytes by a wire's ends, and reads them back.
async fn back_and_forth(wire: Wire, bytes: usize) {
    let (mut read, mut write) = wire.into_split();
    let sent: Vec<u8> = (0..bytes).map(|n| (n % 21) as u8).collect();
    let writes = async {
        for part in sent.chunks(30_000) {
            let (socket, bytes) = write.ready(part).unwrap();
            socket.write_all(bytes).await.unwrap();
        }
    };
    let reads = async {
        let mut input = Vec::new();
        while input.len() < bytes {
            assert!(read.read_buf(&mut input).await.unwrap() > 0);
        }
        input
    };
    let ((), input) = tokio::join!(writes, reads);
    assert!(input == sent);
}

#[tokio::test]
async fn what_is_sent_comes_back_with_tls_and_without() {
    let gateway = Node::alone("ours", "127.0.0.1");
    let dispatcher = tls(&gateway.beside("d1"), TlsMode::Require);
    let (address, _task) = echo(Some(tls(&gateway.dir, TlsMode::Require))).await;
    let mut wire = Wire::connect(&address, Some(&dispatcher)).await.unwrap();
    wire.send(b"hello").await.unwrap();
    let mut input = Vec::new();
    while input.len() < 5 {
        assert!(wire.read(&mut input).await.unwrap() > 0);
    }
    assert_eq!(input, b"hello");
    back_and_forth(wire, 1 << 20).await;
    for plain in [None, Some(&tls(&gateway.beside("d1"), TlsMode::Accept))] {
        let (address, _task) = echo(None).await;
        back_and_forth(Wire::connect(&address, plain).await.unwrap(), 100_000).await;
    }
}

#[tokio::test]
async fn a_wire_says_why_it_does_not_come_up() {
    let (gateway, stranger) = (Node::alone("ours", "127.0.0.1"), Node::alone("strangers", "127.0.0.1"));
    let said = |gateway: Option<LinkTls>, dispatcher: LinkTls| async move {
        let (address, task) = echo(gateway).await;
        let error = match Wire::connect(&address, Some(&dispatcher)).await {
            Ok(mut wire) => wire.read(&mut Vec::new()).await.unwrap_err(),
            Err(error) => error,
        };
        (error.to_string(), task.await.unwrap())
    };
    let require = |dir: &TempDir| tls(dir, TlsMode::Require);
    let ours = gateway.beside("d1");
    let (error, _) = said(Some(require(&stranger.dir)), require(&ours)).await;
    assert!(error.contains("nobody in links.ca_file vouches for it"), "{error}");
    let (error, _) = said(Some(require(&gateway.beside("g1.example"))), require(&ours)).await;
    assert!(error.contains("its certificate is not accepted"), "{error}");
    let (error, _) = said(None, require(&ours)).await;
    assert!(error.contains("it answers without TLS"), "{error}");
    let foreign = stranger.beside("d1");
    fs::copy(gateway.dir.path().join("ca"), foreign.path().join("ca")).unwrap();
    let (error, there) = said(Some(require(&gateway.dir)), require(&foreign)).await;
    assert!(error.contains("does not accept this node's certificate"), "{error}");
    assert!(matches!(there, Err(Trouble::Certificate(_))), "{there:?}");
}
