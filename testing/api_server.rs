//! A cluster's API server in memory: it answers as a test says, and remembers what it was asked.

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use std::sync::{Arc, Mutex, PoisonError};

/// What an API server was asked, in order: verb and path, as in `DELETE /api/v1/namespaces/hythe-weather`.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// All of it since it was taken last.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The API server that this function is: of verb with path and query, and of the body, it makes status and body, or none where the
/// answer never comes.
pub fn api_server<A>(answer: A) -> (Client, Asked)
where
    A: Fn(&str, &str) -> Option<(u16, String)> + Send + Sync + 'static,
{
    let (answer, asked) = (Arc::new(answer), Asked::default());
    let journal = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, journal) = (answer.clone(), journal.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let line = format!("{} {}", head.method, head.uri.path());
            journal.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            let query = format!("{} {}", head.method, head.uri);
            let Some((status, text)) = answer(&query, &String::from_utf8_lossy(&body)) else {
                return std::future::pending().await;
            };
            let mut response = Response::new(Body::from(text.into_bytes()));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
            Ok::<_, kube::Error>(response)
        }
    });
    (Client::new(service, "default"), asked)
}
