//! Bodies on their way through, a frame at a time, never kept.
//!
//! [`RequestBody`] goes into an instance, within limits of size and patience. [`AnswerBody`] comes out of one: it polls
//! the instance's connection while it is read, counts, and gives the connection back when it has ended.

use crate::access::Noted;
use crate::fallback::{BoxError, RouterBody};
use crate::line::UnderWay;
use crate::patience::Patience;
use crate::streams::Lent;
use crate::table::Pass;
use crate::upstream::{Connection, Remains};
use bytes::{Buf, Bytes};
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;

/// Why a request's body was cut; read by whoever answers the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Longer than bodies may be.
    TooLong,
    /// The client sent nothing for too long.
    Stalled,
    /// The client sent too little in the time that it took.
    TooSlow,
    /// The client went away, or what it sent is no HTTP.
    Broken,
}

/// What a request's body says of itself to whoever waits for the answer, and is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Option<Arc<Said>>);

#[derive(Debug, Default)]
struct Said {
    cut: AtomicU8,
    pieces: AtomicU64,
    answered: AtomicBool,
}

impl Progress {
    /// Of a body that is there; the default is that of none.
    pub(crate) fn new() -> Self {
        Self(Some(Arc::default()))
    }

    fn cut(&self, cut: Cut) {
        if let Some(said) = &self.0 {
            said.cut.store(1 + cut as u8, Ordering::Relaxed);
        }
    }

    fn moved(&self) {
        if let Some(said) = &self.0 {
            said.pieces.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_answered(&self) -> bool {
        self.0.as_ref().is_some_and(|said| said.answered.load(Ordering::Relaxed))
    }

    /// Tells the body that the instance has begun to answer.
    pub(crate) fn answered(&self) {
        if let Some(said) = &self.0 {
            said.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Why the body was cut, where it was.
    pub(crate) fn why_cut(&self) -> Option<Cut> {
        let said = self.0.as_ref()?.cut.load(Ordering::Relaxed);
        [Cut::TooLong, Cut::Stalled, Cut::TooSlow, Cut::Broken].into_iter().find(|cut| 1 + *cut as u8 == said)
    }

    /// Pieces of the body sent so far.
    pub(crate) fn pieces(&self) -> u64 {
        self.0.as_ref().map_or(0, |said| said.pieces.load(Ordering::Relaxed))
    }
}

/// The body of a request to an instance.
pub(crate) enum RequestBody {
    /// None.
    Empty,
    /// The client's.
    Client(Box<ClientBody>),
}

/// What a client sends, within limits. Where it is let go before its end, the rest is read in the background.
pub(crate) struct ClientBody {
    /// `None` once nothing more comes of it.
    body: Option<Incoming>,
    /// Whether the client waits to be told to send it.
    withheld: bool,
    left: Option<u64>,
    patience: Patience,
    progress: Progress,
}

impl RequestBody {
    /// A client's body of at most `most` bytes, cut where the client takes more than `patience` (see [`Patience`]).
    /// With `withheld` the client sends it only once somebody begins to read.
    pub(crate) fn client(
        body: Incoming,
        withheld: bool,
        most: Option<u64>,
        patience: Duration,
        progress: Progress,
    ) -> Self {
        let patience = Patience::new(patience);
        Self::Client(Box::new(ClientBody { body: Some(body), withheld, left: most, patience, progress }))
    }
}

/// How much of a body that nobody wants is read, for how long, and how long without a byte of it, so that the client
/// sees its answer: a connection that is closed with bytes unread is reset, and the answer is lost on its way.
const LINGERING: (u64, Duration, Duration) = (16 << 20, Duration::from_secs(5), Duration::from_secs(1));

/// Reads on, in the background, what a client still sends.
fn linger(mut body: Incoming) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if body.is_end_stream() {
        return;
    }
    let (most, patience, pause) = LINGERING;
    let reading = async move {
        let mut left = most;
        while let Ok(Some(Ok(frame))) = timeout(pause, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await
        {
            let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    runtime.spawn(timeout(patience, reading));
}

/// Lets a request go that is answered without its body.
pub(crate) fn let_go(request: Request<Incoming>) {
    // To read would be to tell the client to send.
    if !request.headers().contains_key(EXPECT) {
        linger(request.into_body());
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|_| !self.withheld) {
            linger(body);
        }
    }
}

impl ClientBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        self.withheld = false;
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() {
                    self.body = None;
                }
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.progress.moved();
                self.patience.earn(bytes);
                if self.progress.is_answered() {
                    self.patience.renew();
                }
                match self.left.map(|left| left.checked_sub(bytes)) {
                    Some(None) => self.cut(Cut::TooLong, "the body is too long"),
                    left => {
                        self.left = left.flatten();
                        Poll::Ready(Some(Ok(frame)))
                    }
                }
            }
            Poll::Ready(Some(Err(_))) => {
                self.body = None;
                self.cut(Cut::Broken, "the client's body ended early")
            }
            Poll::Ready(None) => {
                self.body = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let cut = ready!(self.patience.poll_end(cx));
                self.cut(cut, "the client takes too long to send")
            }
        }
    }

    fn cut(&self, cut: Cut, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.progress.cut(cut);
        Poll::Ready(Some(Err(why.into())))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.body.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint),
        }
    }
}

/// The body of an answer to a client.
pub(crate) enum AnswerBody {
    /// The router's own words.
    Text(Option<Bytes>),
    /// The platform's own service.
    Fallback(RouterBody),
    /// An instance's.
    Instance(Box<InstanceBody>),
    /// An instance's, over HTTP/2.
    Lent(Arc<Lent>),
}

/// What an instance answers.
pub(crate) struct InstanceBody {
    /// `None` once it was given back.
    connection: Option<Connection>,
    remains: Remains,
    pass: Option<Pass>,
    noted: Noted,
}

impl InstanceBody {
    /// An answer whose connection is polled while it is read.
    pub(crate) fn new(connection: Connection, remains: Remains, pass: Pass, noted: Noted) -> Self {
        Self { connection: Some(connection), remains, pass: Some(pass), noted }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.remains, Remains::Nothing)
    }

    /// The next piece.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let poll = connection.poll_body(&mut self.remains, cx);
        match &poll {
            Poll::Ready(Some(Ok(frame))) => {
                self.noted.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                if self.is_ended() {
                    self.finish(cx);
                }
            }
            Poll::Ready(None) => self.finish(cx),
            Poll::Ready(Some(Err(_))) => self.noted.error = Some("the instance ended its answer early"),
            Poll::Pending => {}
        }
        poll.map_err(Into::into)
    }

    /// Ends an answer that the client does not take.
    pub(crate) fn give_up(mut self: Box<Self>) {
        self.noted.error = Some("the client took nothing for too long");
    }

    /// Gives the connection back and counts the request out: all of the answer is here.
    pub(crate) fn finish(&mut self, cx: &mut Context<'_>) {
        self.noted.complete = true;
        let Some(pass) = self.pass.take() else { return };
        if let Some(mut connection) = self.connection.take()
            && connection.is_free(cx)
        {
            pass.0.put_back(connection);
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.remains {
            Remains::Nothing => SizeHint::with_exact(0),
            Remains::Bytes(left) => SizeHint::with_exact(left),
            Remains::Chunks(_) | Remains::UntilEnd => SizeHint::default(),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Text(text) => {
                Poll::Ready(text.take().filter(|text| !text.is_empty()).map(|text| Ok(Frame::data(text))))
            }
            Self::Fallback(body) => Pin::new(body).poll_frame(cx),
            Self::Instance(body) => body.poll(cx),
            Self::Lent(lent) => lent.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.as_ref().is_none_or(Bytes::is_empty),
            Self::Fallback(body) => body.is_end_stream(),
            Self::Instance(body) => body.is_ended(),
            Self::Lent(lent) => lent.with(InstanceBody::is_ended).unwrap_or(false),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Fallback(body) => body.size_hint(),
            Self::Instance(body) => body.size_hint(),
            Self::Lent(lent) => lent.with(InstanceBody::size_hint).unwrap_or_default(),
        }
    }
}

/// An answer as the client's connection sends it: the request is under way until it is dropped.
pub(crate) struct Sent {
    body: AnswerBody,
    _under_way: UnderWay,
}

impl Sent {
    /// The body of an answer to this request.
    pub(crate) fn new(body: AnswerBody, under_way: UnderWay) -> Self {
        Self { body, _under_way: under_way }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
