//! The admin port: metrics, health, sessions of a user. A thread of its own with a tokio runtime; it asks shards
//! through their mailboxes and never touches a session.

mod health;
mod revocations;
mod sessions;

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use prometheus_client::{encoding::text, registry::Registry};
use pushgate_protocol::{membership::Membership, ring::Member};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{membership::Attendance, metrics::Exposition, site::Site};

/// The admin thread.
#[derive(Debug)]
pub(crate) struct AdminThread {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Clone)]
struct Admin {
    site: Arc<Site>,
    registry: Arc<Registry>,
}

impl AdminThread {
    /// Starts serving on `listener`.
    /// With a member list, attends it with the record `me`.
    pub(crate) fn spawn(
        listener: StdListener,
        site: Arc<Site>,
        list: Option<(Arc<dyn Membership>, Member)>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Builder::new().name("gateway-admin".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let mut attendance = list.and_then(|(list, me)| Attendance::new(site.clone(), list, me));
                let serve = axum::serve(listener, router(site));
                // Requests under way are given up: nothing depends on their answers.
                let result = tokio::select! {
                    result = async { serve.await } => result,
                    () = attend(attendance.as_mut()) => Ok(()),
                    _ = stopped => Ok(()),
                };
                if let Some(attendance) = attendance {
                    attendance.leave().await;
                }
                result
            })
        })?;
        Ok(Self { address, stop, thread })
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        // It may have ended on its own.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn attend(attendance: Option<&mut Attendance>) {
    match attendance {
        Some(attendance) => attendance.run().await,
        None => std::future::pending().await,
    }
}

fn router(site: Arc<Site>) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { site: site.clone() }));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/v1/drain", post(drain))
        .route("/v1/revocations", get(revocations::list).post(revocations::add))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", delete(sessions::kick))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async { problem(StatusCode::METHOD_NOT_ALLOWED, "not with this method") })
        .layer(middleware::from_fn(no_pages))
        .with_state(Admin { site, registry: Arc::new(registry) })
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut out = String::new();
    if text::encode(&mut out, &admin.registry).is_err() {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be rendered");
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], out).into_response()
}

#[derive(Serialize)]
struct Draining {
    draining: bool,
    /// How long clients are still taken.
    grace_ms: u32,
    /// How long it takes at most.
    ends_in_ms: u32,
}

/// `POST /v1/drain`: as SIGTERM. Asked again it changes nothing.
async fn drain(State(admin): State<Admin>) -> Response {
    let limits = &admin.site.settings.limits;
    if admin.site.departure.drain(admin.site.clock.now().mono_ms) {
        tracing::info!(grace_ms = limits.drain_grace_ms, "drain begins, asked on the admin port");
    }
    let (grace_ms, timeout_ms) = (limits.drain_grace_ms, limits.shutdown_timeout_ms);
    let body = Draining { draining: true, grace_ms, ends_in_ms: grace_ms.saturating_add(timeout_ms) };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

/// Browsers name the origin of the page that makes a request which changes something: pages have no business here.
async fn no_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "the admin port does not serve web pages");
    }
    next.run(request).await
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = Problem { kind: "about:blank", title, status: status.as_u16(), detail };
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
    response
}
