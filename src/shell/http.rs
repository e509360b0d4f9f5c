//! The admin HTTP server: a thread and a runtime of its own, so that no scrape and no listing holds a call.
//!
//! Metrics are rendered here from shared counters. Tables are asked of the node over a bounded channel, page by page
//! (`admin::Query`), and turned into JSON here.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query as Parameters, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Sleep;

use crate::admin::{Answer, Metrics, Page, Query, Readiness};
use crate::base::limits;

/// Questions waiting for the run loop.
pub const QUEUE: usize = 16;
/// Requests served at once; more get 503.
const AT_ONCE: usize = 64;
/// Connections at once; more wait in the kernel until one ends.
const CONNECTIONS: usize = 512;
/// How long a connection is read: who sends slowly, or nothing, makes room; a scraper connects again.
const VISIT: Duration = Duration::from_secs(30);
/// How long the run loop may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows of `records` when the client does not say.
const RECORDS: usize = 100;

/// A question with the place for its answer.
pub struct Ask {
    pub query: Query,
    pub reply: oneshot::Sender<Answer>,
}

/// What the HTTP thread knows of the rest of the daemon.
pub struct Admin {
    pub asks: mpsc::Sender<Ask>,
    pub metrics: Metrics,
    /// Required as bearer when set.
    pub token: Option<String>,
    /// Listeners are bound, leases are loaded, the run loop runs.
    pub is_serving: Arc<AtomicBool>,
}

/// Serves on a bound socket until the process ends.
pub fn start(socket: TcpListener, admin: Admin) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            axum::serve(Door { socket, room: Arc::new(Semaphore::new(CONNECTIONS)), visit: VISIT }, router(admin)).await
        });
        if let Err(error) = served {
            tracing::error!(%error, "the admin server has ended; calls go on");
        }
    })?;
    Ok(())
}

/// Lets in a bounded number of connections, each for a bounded time.
struct Door {
    socket: tokio::net::TcpListener,
    room: Arc<Semaphore>,
    visit: Duration,
}

struct Visit {
    stream: TcpStream,
    until: Pin<Box<Sleep>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl axum::serve::Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        let room = Arc::clone(&self.room).acquire_owned().await.ok();
        // Waits and tries again when the system refuses.
        let (stream, remote) = axum::serve::Listener::accept(&mut self.socket).await;
        (Visit { stream, until: Box::pin(tokio::time::sleep(self.visit)), _room: room }, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl AsyncRead for Visit {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// All paths of INTERFACE.md.
pub fn router(admin: Admin) -> Router {
    let shared = Arc::new(Shared { admin, slots: Semaphore::new(AT_ONCE) });
    Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/metrics", get(metrics))
        .route("/api/v1/leases", get(leases))
        .route("/api/v1/calls", get(calls))
        .route("/api/v1/records", get(records))
        .route("/api/v1/registrations", get(registrations))
        .route("/api/v1/trunks", get(trunks))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

struct Shared {
    admin: Admin,
    slots: Semaphore,
}

type Served = State<Arc<Shared>>;

/// The token, and the bound on requests at once.
async fn admit(State(shared): Served, request: Request, next: Next) -> Response {
    if let Some(token) = &shared.admin.token
        && !is_bearer(request.headers(), token)
    {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "a bearer token is required\n")
            .into_response();
    }
    match shared.slots.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n").into_response(),
    }
}

/// Compares in constant time; the length of the token may be learnt, its characters not.
fn is_bearer(headers: &HeaderMap, token: &str) -> bool {
    let value = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
    // RFC 9110 §11.1: the scheme is case-insensitive.
    let Some((scheme, given)) = value.split_at_checked(7) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(token.as_bytes()))
}

async fn metrics(State(shared): Served) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], shared.admin.metrics.render()).into_response()
}

async fn readyz(State(shared): Served) -> Response {
    if !shared.admin.is_serving.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    match shared.ask(Query::Readiness).await {
        Ok(Answer::Readiness(Readiness::Ready)) => "ready\n".into_response(),
        Ok(Answer::Readiness(Readiness::Draining)) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
        Ok(Answer::Readiness(Readiness::NoLeases)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "what was leased before is not known: the store cannot be read\n")
                .into_response()
        }
        Ok(Answer::Readiness(Readiness::NoTrunk)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "no trunk of an emergency route answers\n").into_response()
        }
        Ok(_) => Busy.into_response(),
        Err(busy) => busy.into_response(),
    }
}

async fn leases(State(shared): Served) -> Result<Response, Busy> {
    let query = |from| Query::Leases { from };
    shared.table(query, |answer| if let Answer::Leases(page) = answer { Some(page) } else { None }).await
}

async fn calls(State(shared): Served) -> Result<Response, Busy> {
    let query = |from| Query::Calls { from };
    shared.table(query, |answer| if let Answer::Calls(page) = answer { Some(page) } else { None }).await
}

async fn registrations(State(shared): Served) -> Result<Response, Busy> {
    let query = |from| Query::Registrations { from };
    shared.table(query, |answer| if let Answer::Registrations(page) = answer { Some(page) } else { None }).await
}

#[derive(serde::Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn records(State(shared): Served, Parameters(Limit { limit }): Parameters<Limit>) -> Result<Response, Busy> {
    let limit = limit.unwrap_or(RECORDS).min(limits::RECORDS_KEPT);
    match shared.ask(Query::Records { limit }).await? {
        Answer::Records(records) => Ok(Json(records).into_response()),
        _ => Err(Busy),
    }
}

async fn trunks(State(shared): Served) -> Result<Response, Busy> {
    match shared.ask(Query::Trunks).await? {
        Answer::Trunks(trunks) => Ok(Json(trunks).into_response()),
        _ => Err(Busy),
    }
}

/// The run loop did not answer in time.
struct Busy;

impl IntoResponse for Busy {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, "the node does not answer\n").into_response()
    }
}

impl Shared {
    async fn ask(&self, query: Query) -> Result<Answer, Busy> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.admin.asks.send(Ask { query, reply }).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten().ok_or(Busy)
    }

    /// All pages of a table as one JSON array.
    async fn table<T: serde::Serialize>(
        &self,
        query: impl Fn(u64) -> Query,
        page: impl Fn(Answer) -> Option<Page<T>>,
    ) -> Result<Response, Busy> {
        let mut rows = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let mut next = page(self.ask(query(start)).await?).ok_or(Busy)?;
            rows.append(&mut next.rows);
            // A cursor that does not advance would never end.
            from = next.next.filter(|&next| next > start);
        }
        Ok(Json(rows).into_response())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::admin::{CallKind, CallState, CallView, Stamp, TrunkView};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A server with a thread in place of the run loop; returns its address.
    fn serve(token: Option<&str>, is_serving: bool) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (asks, mut asked) = mpsc::channel(QUEUE);
        let admin = Admin {
            asks,
            metrics: Metrics::new(),
            token: token.map(str::to_owned),
            is_serving: Arc::new(AtomicBool::new(is_serving)),
        };
        start(socket, admin).unwrap();
        std::thread::spawn(move || {
            while let Some(Ask { query, reply }) = asked.blocking_recv() {
                let _ = reply.send(answer(query));
            }
        });
        format!("http://{address}")
    }

    fn answer(query: Query) -> Answer {
        match query {
            Query::Calls { from } => {
                let next = (from < 2).then_some(from + 1);
                Answer::Calls(Page { rows: vec![call(from)], next })
            }
            Query::Leases { .. } => Answer::Leases(Page { rows: Vec::new(), next: Some(0) }),
            Query::Registrations { .. } => Answer::Registrations(Page { rows: Vec::new(), next: None }),
            Query::Records { limit } => {
                assert!(limit <= limits::RECORDS_KEPT);
                Answer::Records(Vec::new())
            }
            Query::Trunks => {
                Answer::Trunks(vec![TrunkView { name: "psap".into(), targets: Vec::new(), registration: None }])
            }
            Query::Readiness => Answer::Readiness(Readiness::NoTrunk),
        }
    }

    fn call(id: u64) -> CallView {
        CallView {
            id: id.to_string().into(),
            kind: CallKind::Emergency,
            user: None,
            number: None,
            country: None,
            dialled: "911".into(),
            trunk: None,
            state: CallState::Trying,
            started_at: Stamp::from_unix_millis(0),
            answered_at: None,
            media: Vec::new(),
            test: false,
        }
    }

    fn fetch(url: &str, authorization: Option<&str>) -> (u16, String, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.get(url);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let mut response = request.call().unwrap();
        let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), content_type.unwrap_or_default(), response.body_mut().read_to_string().unwrap())
    }

    /// Rule 9.4.
    #[test]
    fn a_table_is_all_its_pages() {
        let server = serve(None, true);
        let (status, content_type, body) = fetch(&format!("{server}/api/v1/calls"), None);
        assert_eq!((status, content_type.as_str()), (200, "application/json"));
        let calls: Vec<CallView> = serde_json::from_str(&body).unwrap();
        assert_eq!(calls, [call(0), call(1), call(2)]);
        assert_eq!(fetch(&format!("{server}/api/v1/leases"), None).2, "[]");
        assert_eq!(fetch(&format!("{server}/api/v1/trunks"), None).2, r#"[{"name":"psap","targets":[]}]"#);
        assert_eq!(fetch(&format!("{server}/api/v1/registrations"), None).2, "[]");
        assert_eq!(fetch(&format!("{server}/api/v1/records?limit=1000000"), None).2, "[]");
        assert_eq!(fetch(&format!("{server}/api/v1/records?limit=x"), None).0, 400);
        assert_eq!(fetch(&format!("{server}/api/v1/nothing"), None).0, 404);
        assert!(fetch(&format!("{server}/"), None).2.contains("sosbridge"));
        assert!(fetch(&format!("{server}/metrics"), None).2.contains("sosbridge_registrations 0"));
    }

    #[test]
    fn the_token_guards_all_but_health() {
        let server = serve(Some("secret"), true);
        for path in ["/", "/metrics", "/api/v1/leases", "/api/v1/trunks", "/nothing"] {
            let url = format!("{server}{path}");
            assert_eq!(fetch(&url, None).0, 401, "{path}");
            assert_eq!(fetch(&url, Some("Bearer secre")).0, 401, "{path}");
            assert_eq!(fetch(&url, Some("Bearer secret2")).0, 401, "{path}");
            assert_eq!(fetch(&url, Some("Basic secret")).0, 401, "{path}");
            assert_ne!(fetch(&url, Some("bearer secret")).0, 401, "{path}");
        }
        assert_eq!(fetch(&format!("{server}/healthz"), None).0, 200);
        assert_eq!(fetch(&format!("{server}/readyz"), None).0, 503);
    }

    #[tokio::test]
    async fn whoever_sends_no_whole_request_makes_room() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let door = Door { socket, room: Arc::new(Semaphore::new(2)), visit: Duration::from_millis(100) };
        tokio::spawn(async { axum::serve(door, Router::new().route("/", get(|| async { "in" }))).await });
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            slow.push(stream);
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        third.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("in"), "{answer}");
    }

    #[test]
    fn ready_only_when_it_serves_and_a_trunk_answers() {
        assert_eq!(fetch(&format!("{}/readyz", serve(None, false)), None).2, "starting\n");
        assert_eq!(fetch(&format!("{}/readyz", serve(None, true)), None).2, "no trunk of an emergency route answers\n");
    }
}
