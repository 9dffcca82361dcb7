//! A connection and a server that answers in its own way.

//! Who is given which answer, and what ends a connection.

use tokio::net::TcpListener;

use super::{super::wire::Reply, *};

async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let (connection, server) = tokio::join!(Connection::open(&address, None), listener.accept());
    (connection.unwrap(), server.unwrap().0)
}

async fn asked(server: &mut TcpStream, bytes: usize) {
    let mut buffer = vec![0; bytes];
    server.read_exact(&mut buffer).await.unwrap();
}

#[tokio::test]
async fn answers_go_to_those_who_asked_in_order() {
    let (connection, mut server) = pair().await;
    let ask = |bytes: &'static [u8], count| {
        let connection = connection.clone();
        async move {
            let answer = connection.ask(Bytes::from_static(bytes), count).await.unwrap();
            let numbers = answer.replies().map(|reply| if let Reply::Int(number) = reply { number } else { -1 });
            (numbers.collect::<Vec<_>>(), answer.failed)
        }
    };
    let serve = async {
        asked(&mut server, 4).await;
        server.write_all(b":1\r\n:2").await.unwrap();
        server.write_all(b"\r\n-ERR no\r\n:4\r\n:5\r\n").await.unwrap();
    };
    let (first, second, third, ()) = tokio::join!(ask(b"a", 2), ask(b"bc", 2), ask(b"d", 1), serve);
    assert_eq!(first, (vec![1, 2], false));
    assert_eq!(second, (vec![-1, 4], true));
    assert_eq!(third, (vec![5], false));
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_server_goes_or_talks_nonsense() {
    for last in [&b":1\r\n"[..], b"HTTP/1.1 400\r\n", b":1\r\n:2\r\n:3\r\n"] {
        let (connection, mut server) = pair().await;
        let serve = async {
            asked(&mut server, 1).await;
            server.write_all(last).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (answer, ()) = tokio::join!(connection.ask(Bytes::from_static(b"a"), 2), serve);
        let complete = last.len() > 8 && last[0] == b':';
        assert_eq!(answer.is_ok(), complete, "{last:?}: {answer:?}");
        let later = connection.ask(Bytes::from_static(b"b"), 1).await;
        assert!(matches!(later, Err(ConnectionError::Closed)), "{later:?}");
    }
}

#[tokio::test]
async fn a_connection_ends_with_the_last_who_holds_it() {
    let (connection, mut server) = pair().await;
    let other = connection.clone();
    drop(connection);
    let (answer, ()) = tokio::join!(other.ask(Bytes::from_static(b"a"), 1), async {
        asked(&mut server, 1).await;
        server.write_all(b"+OK\r\n").await.unwrap();
    });
    assert_eq!(answer.unwrap().replies().collect::<Vec<_>>(), [Reply::Status(b"OK")]);
    drop(other);
    assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_though_nobody_waits_as_long_as_it_may_take() {
    let (near, _far) = tokio::io::duplex(64);
    let (read, write) = tokio::io::split(near);
    let (requests, queue) = mpsc::channel(1);
    let (answer, waits) = oneshot::channel();
    assert!(requests.try_send(Request { bytes: Bytes::from_static(b"a"), count: 1, answer }).is_ok());
    drop(waits);
    let error = run(read, write, queue, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::TimedOut, "no answer in 50 ms"));
}
