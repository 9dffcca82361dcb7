//! What a connection is opened with.

use tokio::net::TcpListener;

use super::*;
use crate::channels::config::AccountConfig;

#[tokio::test]
async fn what_is_written_is_not_held_back_for_acknowledgements() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}?tls=never", server.local_addr().unwrap());
    let mut account = AccountConfig::new("relay", "smtp", &url);
    account.from = Some("shop@example.org".into());
    account.connection.open_ms = 300_000;
    let settings = Settings::of(&account).unwrap();
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(b"220 here\r\n").await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(b"250 here\r\n").await.unwrap();
        stream
    };
    let heard = Notify::new();
    let (opened, _server) = tokio::join!(Connection::open(&settings, &heard), serve);
    let Ok(Connection { stream: Stream::Plain(tcp), .. }) = opened else { panic!("it is open, in clear") };
    assert!(tcp.nodelay().unwrap());
}
