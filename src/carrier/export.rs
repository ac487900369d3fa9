//! After the build: what changed becomes layers, and the delivery says which.

use crate::job::Restored;
use crate::places::{EXCHANGE, OUTCOME, PRIVATE, WORK};
use crate::restore::RESTORED;
use crate::trees::{self, Room, Tree};
use crate::{Access, CarryError, Delivery, Exchange, Packed, Refusal, Refused, files};
use futures::stream::{self, StreamExt, TryStreamExt};
use hythe_cnb::protocol::{MESSAGE_MAX, Message, Outcome};
use hythe_oci::{LayerDescriptor, LayerError, LayerSpec, fingerprint};
use std::path::Path;

/// Layers that are written at the same time.
const AT_ONCE: usize = 2;
/// The largest note of what was restored, bytes.
const RESTORED_MAX: u64 = 64 << 20;

/// Brings everything out, and leaves a [`Delivery`] under this tag.
pub async fn export(access: &Access, tag: &str) -> Result<(), CarryError> {
    let exchange = Exchange::open(access).await?;
    let job = exchange.job(&access.job).await?;
    let outcome = outcome()?;
    let restored = files::read(&Path::new(PRIVATE).join(RESTORED), RESTORED_MAX)?;
    let export = Export { exchange: &exchange, restored, room: Room::new(job.bounds) };
    // Whoever reads the delivery refuses it for their number.
    let trees = if trees::too_many(&outcome, 0).is_some() {
        Vec::new()
    } else {
        trees::all(&outcome, Path::new(WORK), job.user)
    };
    let packing = stream::iter(trees).map(|(tree, spec)| export.pack(tree, spec)).buffered(AT_ONCE);
    let (packed, refused) = match packing.try_collect().await {
        Ok(packed) => (packed, None),
        Err(Broken::Refused(refused)) => (Vec::new(), Some(refused)),
        Err(Broken::Failed(error)) => return Err(error),
    };
    exchange.deliver(&Delivery { outcome, packed, refused }, tag).await
}

fn outcome() -> Result<Outcome, CarryError> {
    let path = Path::new(EXCHANGE).join(OUTCOME);
    match files::read(&path, MESSAGE_MAX as u64)? {
        Message::Done { outcome } => Ok(outcome),
        _ => Err(CarryError::file("read", &path, "it is no outcome")),
    }
}

/// One export, under way.
struct Export<'a> {
    exchange: &'a Exchange,
    restored: Vec<Restored>,
    room: Room,
}

/// Why a tree is no layer.
enum Broken {
    Refused(Refused),
    Failed(CarryError),
}

impl Export<'_> {
    async fn pack(&self, tree: Tree, spec: LayerSpec) -> Result<Packed, Broken> {
        let broken = |error: CarryError| match error {
            CarryError::Layer(error) => Broken::Refused(refused(&tree, &error)),
            error => Broken::Failed(error),
        };
        if let Some(layer) = self.unchanged(&tree, &spec).map_err(|error| broken(error.into()))? {
            return Ok(Packed { tree, layer });
        }
        let info = self.exchange.pack(&spec, self.room.bounds()).await.map_err(broken)?;
        self.room.take(&info);
        let layer = LayerDescriptor::of(&info, trees::COMPRESSION);
        Ok(Packed { tree, layer })
    }

    /// The layer as it came, where no file of it has changed since.
    fn unchanged(&self, tree: &Tree, spec: &LayerSpec) -> Result<Option<LayerDescriptor>, LayerError> {
        let Tree::Layer { buildpack, layer } = tree else { return Ok(None) };
        let of =
            |restored: &&Restored| &restored.cached.buildpack == buildpack && &restored.cached.layer == layer;
        let Some(restored) = self.restored.iter().find(of) else { return Ok(None) };
        let same = fingerprint(spec)? == restored.fingerprint;
        Ok(same.then(|| restored.cached.written.clone()))
    }
}

fn refused(tree: &Tree, error: &LayerError) -> Refused {
    let why = match error {
        LayerError::TooLarge(_) | LayerError::TooMany(_) => Refusal::TooLarge,
        _ => Refusal::Unreadable,
    };
    Refused { what: tree.to_string(), why, message: error.to_string() }
}
