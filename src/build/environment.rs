//! What every build sees, wherever it runs: paths, environment, the lifecycle's request.

use crate::analyze::Before;
use crate::{BuildRequest, Common, NetworkSettings};
use hythe_cnb::protocol::Request;
use std::collections::BTreeMap;
use std::path::Path;

/// The lifecycle.
pub(crate) const LIFECYCLE: &str = "/cnb/lifecycle/lifecycle";
/// The folder of buildpacks.
pub(crate) const BUILDPACKS: &str = "/cnb/buildpacks";
/// The platform's folder, in memory: it holds the tool's build-time config.
pub(crate) const PLATFORM: &str = "/platform";
/// Its bytes. `/tmp` lies on the disk, whose limit it shares.
pub(crate) const PLATFORM_SIZE: u64 = 16 << 20;
/// The bundle of authorities.
pub(crate) const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The layers.
pub(crate) const LAYERS: &str = "/layers";
/// The app.
pub(crate) const APP: &str = hythe_model::project::APPLICATION;
/// The execution environment of every build (Buildpack API 0.12).
pub(crate) const EXEC_ENV: &str = "production";

impl Common {
    /// What the lifecycle is asked, with the tool's build-time config.
    pub(crate) fn lifecycle_request(&self, request: &BuildRequest, before: &Before) -> Request {
        let base = &self.base;
        let names = base.buildpacks.iter().filter_map(|path| path.file_name());
        Request {
            app_dir: APP.into(),
            layers_dir: LAYERS.into(),
            platform_dir: PLATFORM.into(),
            buildpacks: names.map(|name| Path::new(BUILDPACKS).join(name)).collect(),
            order: base.order.clone(),
            target: base.target.clone(),
            exec_env: EXEC_ENV.to_owned(),
            platform_env: request.env.clone(),
            build_config_env: operator_env(&self.parts.network),
            restore: before.restore(),
        }
    }

    /// What the lifecycle passes on to buildpacks (cnb: HOME, HOSTNAME, the proxies, the path variables).
    pub(crate) fn process_env(&self) -> Vec<(String, String)> {
        let network = &self.parts.network;
        let mut env =
            vec![("HOME".to_owned(), self.base.home.clone()), ("HOSTNAME".to_owned(), "build".to_owned())];
        env.extend(self.base.path.iter().map(|path| ("PATH".to_owned(), path.clone())));
        for (name, value) in [
            ("HTTP_PROXY", &network.http_proxy),
            ("HTTPS_PROXY", &network.https_proxy),
            ("NO_PROXY", &network.no_proxy),
        ] {
            if let Some(value) = value {
                env.push((name.to_owned(), value.clone()));
                env.push((name.to_lowercase(), value.clone()));
            }
        }
        env
    }
}

/// The operator's authorities and mirrors, in the names that package managers know. They fill gaps: a tool's own
/// build-time config goes before them.
fn operator_env(network: &NetworkSettings) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if network.ca_bundle.is_some() {
        for name in [
            "SSL_CERT_FILE",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "GIT_SSL_CAINFO",
        ] {
            env.insert(name.to_owned(), AUTHORITIES.to_owned());
        }
    }
    let mirrors = [("PIP_INDEX_URL", &network.pip_index_url), ("NPM_CONFIG_REGISTRY", &network.npm_registry)];
    env.extend(mirrors.into_iter().filter_map(|(name, url)| Some((name.to_owned(), url.clone()?))));
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn authorities_and_mirrors_have_the_names_that_package_managers_know() {
        let network = NetworkSettings {
            ca_bundle: Some("/etc/own.pem".into()),
            pip_index_url: Some("https://pypi.example.org/simple".into()),
            ..NetworkSettings::default()
        };
        let env = operator_env(&network);
        assert_eq!(env["PIP_CERT"], AUTHORITIES);
        assert_eq!(env["PIP_INDEX_URL"], "https://pypi.example.org/simple");
        assert!(!env.contains_key("NPM_CONFIG_REGISTRY"));
        assert!(operator_env(&NetworkSettings::default()).is_empty());
    }
}
