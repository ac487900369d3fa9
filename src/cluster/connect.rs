//! The way to the cluster.

use crate::{Cluster, Streams};
use hythe_model::Fault;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

impl Cluster {
    /// The cluster of a kubeconfig: this one, else the environment's, else the one whose pod this is. Things of the installation
    /// `platform` are ours. Nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// `rollout/no-cluster` where there is no usable kubeconfig.
    pub async fn connect(kubeconfig: Option<&Path>, platform: &str) -> Result<Self, Fault> {
        let config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(|error| no_cluster(&error))?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| no_cluster(&error))?
            }
            None => Config::infer().await.map_err(|error| no_cluster(&error))?,
        };
        // A program that the kubeconfig names may run for it.
        let clients = tokio::task::spawn_blocking(move || clients(&config)).await;
        let (client, streams) =
            clients.map_err(|error| no_cluster(&error))?.map_err(|error| no_cluster(&error))?;
        Ok(Self { client, streams, platform: platform.to_owned(), number: None, known: Arc::default() })
    }

    /// The cluster that is reached this way.
    pub fn over(client: Client, platform: &str) -> Self {
        let streams = each_its_own(&client);
        Self { client, streams, platform: platform.to_owned(), number: None, known: Arc::default() }
    }
}

/// What asks the cluster, and what stays open.
fn clients(config: &Config) -> Result<(Client, Streams), kube::Error> {
    let client = Client::try_from(config.clone())?;
    let is_plain = config.proxy_url.is_none() && config.tls_server_name.is_none();
    let streams = if is_plain { Streams::of(config)? } else { each_its_own(&client) };
    Ok((client, streams))
}

/// Streams of a client that speaks HTTP/1.1 alone: each has a connection of its own.
fn each_its_own(client: &Client) -> Streams {
    let client = client.clone();
    Streams::new(move || client.clone())
}

fn no_cluster(error: &dyn Display) -> Fault {
    Fault::new("rollout/no-cluster", "The cluster cannot be used: there is no valid kubeconfig.")
        .why(error.to_string())
        .next("Set `kubeconfig` in the section [kubernetes], or KUBECONFIG, or run hythed in a pod of the cluster.")
}
