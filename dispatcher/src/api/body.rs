//! Bodies of requests: JSON, of bounded size, within a bounded time, and all together within a bounded memory.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Api, problem::Problem};

/// A body, and the memory that it was granted.
pub(super) struct JsonBody {
    pub(super) bytes: Bytes,
    _granted: OwnedSemaphorePermit,
}

/// Reads the body of a request.
pub(super) async fn read(api: &Api, headers: &HeaderMap, body: Body, max: usize) -> Result<JsonBody, Problem> {
    if !is_json(headers) {
        return Err(Problem::new(415, "unsupported_media_type", "the Content-Type must be application/json"));
    }
    read_any(api, headers, body, max).await
}

/// The same of any type.
pub(super) async fn read_any(api: &Api, headers: &HeaderMap, body: Body, max: usize) -> Result<JsonBody, Problem> {
    let too_large =
        || Problem::new(413, "too_large", format!("the body has more than {max} bytes, which is the most allowed"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > max) {
        return Err(too_large());
    }
    let kib = u32::try_from(announced.unwrap_or(max).div_ceil(1024)).unwrap_or(u32::MAX);
    let granted = Arc::clone(&api.bodies)
        .try_acquire_many_owned(kib)
        .map_err(|_| Problem::overloaded("too many requests are under way, try again"))?;
    match tokio::time::timeout(api.patience.body, to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(JsonBody { bytes, _granted: granted }),
        // The library tells a body above the limit from one that broke off by the error's source alone.
        Ok(Err(e)) if e.to_string().contains("length limit") => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(400, "body_broken_off", "the body could not be read to its end")),
        Err(_) => Err(Problem::new(408, "body_too_slow", "the body did not come to its end in time")),
    }
}

/// `application/json` or a type with the suffix `+json`, with or without parameters.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(|v| v.to_str()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
