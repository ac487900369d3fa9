//! Errors in the spec's JSON, each cause with one status.

use crate::RegistryError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// The spec's error codes, and Docker's where the spec has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Unsupported,
    TooManyRequests,
    PaginationNumberInvalid,
    Unknown,
}

impl Code {
    fn word(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: Code,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(super) fn bad(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn missing(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, "this method is not supported here")
    }

    /// What is nobody's fault but ours: logged whole, told in general.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "a registry request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, "the registry failed; its log says why")
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Full { .. } => {
                tracing::error!(error = %error, "a registry request failed");
                let full = "the registry's disk is full";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, Code::Unknown, full)
            }
            RegistryError::Mismatch { .. } => Self::bad(Code::DigestInvalid, error.to_string()),
            RegistryError::NoBlob(_) => Self::missing(Code::BlobUnknown, error.to_string()),
            RegistryError::NoManifest { .. } => Self::missing(Code::ManifestUnknown, error.to_string()),
            RegistryError::Io { .. } | RegistryError::Image { .. } | RegistryError::Broken { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"errors": [{"code": self.code.word(), "message": self.message}]});
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = (self.status, [json], body.to_string()).into_response();
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
