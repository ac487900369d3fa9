//! The build's repository in the registry: blobs out of it and into it.
//!
//! The protocol is [`oci_client`]'s. Content streams both ways; a registry that is away for a moment, as at a restart of the
//! platform, is waited for.

use crate::trees::COMPRESSION;
use crate::{Access, Delivery, Job};
use backon::{ExponentialBuilder, Retryable};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use hythe_oci::{
    Applied, ApplyError, ApplyOptions, Digest, Hasher, LayerBounds, LayerError, LayerInfo, LayerSpec,
    apply_layer, write_layer_within,
};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Bytes of a layer that are sent in one request.
const PIECE: usize = 4 << 20;
/// Pieces that wait to be sent.
const WAITING: usize = 2;
/// The tag of a place that is asked for blobs alone.
const NO_TAG: &str = "none";
/// The largest [`Job`], bytes.
const JOB_MAX: usize = 64 << 20;
/// Media types of a delivery's two parts.
const MEDIA_TYPE: &str = "application/vnd.hythe.delivery.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Why something could not be carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// A file of the pod.
    #[error("cannot {operation} {path}: {reason}")]
    File {
        /// What was to be done with it.
        operation: &'static str,
        /// Which.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The registry did not do it.
    #[error("the registry failed to {operation}: {reason}")]
    Registry {
        /// What it was to do.
        operation: String,
        /// What it said.
        reason: String,
    },
    /// An archive cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ApplyError),
    /// Neither `restore` nor `export` was asked for.
    #[error("it knows `restore` and `export`")]
    Verb,
    /// A tree cannot be a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

impl CarryError {
    pub(crate) fn file(operation: &'static str, path: &Path, reason: impl Display) -> Self {
        Self::File { operation, path: path.display().to_string(), reason: reason.to_string() }
    }
}

fn registry(operation: impl Display) -> impl Fn(OciDistributionError) -> CarryError {
    move |error| CarryError::Registry { operation: operation.to_string(), reason: error.to_string() }
}

fn broke(operation: &str, reason: &dyn Display) -> CarryError {
    CarryError::Registry { operation: operation.to_owned(), reason: reason.to_string() }
}

/// The build's repository.
pub struct Exchange {
    client: Client,
    place: Reference,
}

impl Exchange {
    /// The repository that `access` leads to. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`CarryError::Registry`] where the authorities cannot be read.
    pub async fn open(access: &Access) -> Result<Self, CarryError> {
        let authorities = access
            .authorities
            .iter()
            .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() });
        let config = ClientConfig {
            protocol: if access.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: authorities.collect(),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_mins(2)),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(registry("be spoken to"))?;
        let place =
            Reference::with_tag(access.registry.clone(), access.repository.clone(), NO_TAG.to_owned());
        let auth = RegistryAuth::Basic(access.user.clone(), access.password.clone());
        client.store_auth_if_needed(place.resolve_registry(), &auth).await;
        Ok(Self { client, place })
    }

    /// The job.
    pub(crate) async fn job(&self, digest: &Digest) -> Result<Job, CarryError> {
        let bytes = patient(async || {
            let mut stream = self.open_blob(digest).await?;
            let mut bytes = BytesMut::new();
            while let Some(piece) = stream.try_next().await.map_err(|error| broke("send the job", &error))? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > JOB_MAX {
                    return Err(broke("send the job", &"it is too large"));
                }
            }
            Ok(bytes)
        });
        serde_json::from_slice(&bytes.await?).map_err(|error| broke("send a job", &error))
    }

    async fn open_blob(
        &self,
        digest: &Digest,
    ) -> Result<impl futures::Stream<Item = io::Result<Bytes>> + Unpin + Send + use<>, CarryError> {
        let stream = self.client.pull_blob_stream(&self.place, digest.as_str()).await;
        Ok(stream.map_err(registry(format_args!("send {digest}")))?.stream)
    }

    /// Unpacks an archive into a folder.
    pub(crate) async fn unpack(
        &self,
        digest: &Digest,
        folder: &Path,
        options: &ApplyOptions,
    ) -> Result<Applied, CarryError> {
        patient(async || {
            let reader = SyncIoBridge::new(StreamReader::new(self.open_blob(digest).await?));
            let (folder, options) = (folder.to_owned(), options.clone());
            let applying = tokio::task::spawn_blocking(move || apply_layer(reader, &folder, &options));
            let applied = applying.await.map_err(|error| broke("unpack", &error))?;
            applied.map_err(|error| match error {
                ApplyError::Read(_) | ApplyError::Truncated => broke(&format!("send {digest} whole"), &error),
                error => CarryError::Archive(error),
            })
        })
        .await
    }

    /// Packs a tree straight into the registry.
    pub(crate) async fn pack(&self, spec: &LayerSpec, bounds: LayerBounds) -> Result<LayerInfo, CarryError> {
        patient(async || {
            let (sender, receiver) = mpsc::channel(WAITING);
            let spec = spec.clone();
            let packing = tokio::task::spawn_blocking(move || {
                let mut pieces = Pieces { sender, piece: BytesMut::with_capacity(PIECE) };
                let written = write_layer_within(&spec, COMPRESSION, &mut pieces, 0, bounds);
                let ended = written.and_then(|info| {
                    pieces.send().map_err(LayerError::Write)?;
                    Ok(info)
                });
                if ended.is_err() {
                    pieces.give_up();
                }
                ended
            });
            let pieces = ReceiverStream::new(receiver);
            let pushed = self.client.push_blob_stream_chunked(&self.place, pieces).await;
            // What keeps a layer from being written is the truer reason, unless the upload broke it off.
            let packed = packing.await.map_err(|error| broke("pack", &error))?;
            match (packed, pushed) {
                (Err(LayerError::Write(_)) | Ok(_), Err(error)) => Err(registry("take a layer")(error)),
                (Err(error), _) => Err(error.into()),
                (Ok(info), Ok(pushed)) if pushed.blob_digest == info.digest.as_str() => Ok(info),
                (Ok(info), Ok(pushed)) => {
                    let reason = format!("it has {} in place of {}", pushed.blob_digest, info.digest);
                    Err(broke("take a layer", &reason))
                }
            }
        })
        .await
    }

    /// Puts the delivery under its tag; the last thing that is done.
    pub(crate) async fn deliver(&self, delivery: &Delivery, tag: &str) -> Result<(), CarryError> {
        let (host, repository) = (self.place.registry().to_owned(), self.place.repository().to_owned());
        let place = Reference::with_tag(host, repository, tag.to_owned());
        let bytes =
            Bytes::from(serde_json::to_vec(delivery).map_err(|error| broke("take the delivery", &error))?);
        let empty = Bytes::from_static(b"{}");
        let described = |media_type: &str, bytes: &Bytes| OciDescriptor {
            media_type: media_type.to_owned(),
            digest: Hasher::digest(bytes).to_string(),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let manifest = OciManifest::Image(OciImageManifest {
            media_type: Some(oci_client::manifest::OCI_IMAGE_MEDIA_TYPE.to_owned()),
            artifact_type: Some(MEDIA_TYPE.to_owned()),
            config: described(EMPTY, &empty),
            layers: vec![described(MEDIA_TYPE, &bytes)],
            ..OciImageManifest::default()
        });
        patient(async || {
            for blob in [&empty, &bytes] {
                let digest = Hasher::digest(blob).to_string();
                let pushed = self.client.push_blob(&self.place, blob.clone(), &digest).await;
                pushed.map_err(registry("take the delivery"))?;
            }
            let put = self.client.push_manifest(&place, &manifest).await;
            put.map(drop).map_err(registry("take the delivery"))
        })
        .await
    }
}

/// Tries until the registry does it, for three minutes. What is wrong with a tree stays wrong.
async fn patient<T>(work: impl AsyncFn() -> Result<T, CarryError>) -> Result<T, CarryError> {
    let waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_total_delay(Some(Duration::from_mins(3)))
        .without_max_times()
        .with_jitter();
    (|| work()).retry(waits).when(|error| matches!(error, CarryError::Registry { .. })).await
}

/// Bytes on their way to the upload, in pieces of one request each.
struct Pieces {
    sender: mpsc::Sender<Result<Bytes, OciDistributionError>>,
    piece: BytesMut,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.sender.blocking_send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sees to it that what was sent so far is never taken for a layer.
    fn give_up(&self) {
        let _ = self.sender.blocking_send(Err(OciDistributionError::GenericError(None)));
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
