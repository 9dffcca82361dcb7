//! Paths, queries and bytes that are no request of ours, and pages in browsers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn unknown_paths_methods_and_queries_are_refused() {
    let api = Fixture::new();
    for path in ["/", "/v1", "/v1/message", "/v1/messages/a/b", "/v1/messages/%ff"] {
        assert_eq!(api.get(path).await.problem(), (404, "not_found", None), "{path}");
    }
    assert_eq!(api.get("/v1/messages").await.problem(), (405, "method_not_allowed", None));
    let put = request(Method::PUT, "/v1/messages/m").body(Body::empty()).unwrap();
    let answer = api.call(put).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed", None));
    assert!(answer.headers[header::ALLOW].to_str().unwrap().contains("GET"));
    for query in ["lane=urgent", "lane=", "lane=low&lane=high", "line=high"] {
        let answer = api.post(&format!("/v1/messages?{query}"), smallest().to_string()).await;
        assert_eq!(answer.problem(), (400, "invalid_query", None), "{query}");
    }
    for query in ["limit=0", "limit=1001", "page=-1", "page=x", "size=5"] {
        assert_eq!(
            api.get(&format!("/v1/messages/m?{query}")).await.problem(),
            (400, "invalid_query", None),
            "{query}"
        );
    }
}

#[tokio::test]
async fn malformed_requests_do_not_disturb_the_listener() {
    let api = Fixture::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, api.router.clone()).into_future());
    let exchange = async |bytes: Vec<u8>| {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = socket.write_all(&bytes).await;
        let mut answer = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_secs(20), socket.read_exact(&mut answer)).await;
        read.unwrap().map(|_| String::from_utf8_lossy(&answer).into_owned()).unwrap_or_default()
    };
    assert_eq!(exchange(b"hello\r\n\r\n".to_vec()).await, "HTTP/1.1 400");
    let header = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(exchange(header.into_bytes()).await, "HTTP/1.1 431");
    assert_eq!(exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()).await, "HTTP/1.1 200");
    server.abort();
}

#[tokio::test]
async fn a_named_page_may_call_from_a_browser_and_no_other() {
    let api = Fixture::new();
    for (origin, allowed) in [("http://page.example", true), ("http://other.example", false)] {
        let preflight = Request::options("/v1/messages")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type");
        let answer = api.call(preflight.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed, "{origin}");
    }
}
