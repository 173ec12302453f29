//! Logs and metrics: set up once per process. Neither ever holds an address, a body or a secret; they hold ids.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    config::{LogFormat, Telemetry},
    lifecycle::Lifecycle,
};

const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds, from a fast commit to the compliance deadline of 48 hours.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3_600.0, 86_400.0, 172_800.0,
];

/// The process's metrics, ready to be shown.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts recording; call once per process.
    pub fn install() -> Result<Self, BuildError> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?;
        let handle = builder.install_recorder()?;
        Ok(Self(handle))
    }

    /// Makes room for new measurements until the process stops. Without it, what histograms are told is kept until
    /// somebody scrapes, and where nobody does, for ever.
    pub async fn keep_up(self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        while tokio::time::timeout(UPKEEP, lifecycle.stopping())
            .await
            .is_err()
        {
            self.0.run_upkeep();
        }
        Ok(())
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Starts logging to standard error.
pub fn log(settings: &Telemetry) {
    // lapin shows the body of a message that the broker sends back, and aws-sigv4 what it signs, and with it addresses.
    let filter = format!("{},lapin=error,aws_sigv4=error", settings.log);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match settings.format {
        LogFormat::Human => lines.compact().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Err(error) = set {
        tracing::debug!(%error, "logging was set up already");
    }
}
