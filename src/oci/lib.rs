//! OCI images as bytes: reproducible layers, their application to a folder, config and manifest.
//!
//! Enter at [`write_layer`] and [`fingerprint()`] (folder to layer), [`apply_layer`] (layer to folder) and
//! [`ImageBuilder`] (layers to image). Everything is synchronous and works on open files and plain bytes.
//! This room never uses the network, never keeps a store and never holds a whole layer in memory.

pub mod apply;
pub mod digest;
pub mod fingerprint;
pub mod image;
pub mod layer;
pub mod spec;

pub use apply::{Applied, ApplyError, ApplyOptions, ArchiveFormat, Devices, Ownership, apply_layer};
pub use digest::{DigestReader, DigestWriter, Hasher};
pub use fingerprint::{Fingerprint, fingerprint};
pub use hythe_model::Digest;
pub use image::{
    BuiltImage, Descriptor, History, ImageBuilder, ImageConfig, ImageError, Index, LayerDescriptor, Manifest,
    Platform, RunConfig, media_type,
};
pub use layer::{Compression, LayerBounds, LayerError, LayerInfo, write_layer, write_layer_within};
pub use spec::{Filter, LayerSpec, Owner, Part};
