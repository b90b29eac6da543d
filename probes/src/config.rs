//! The kinds of probe by the names that they have in a configuration.
//!
//! How to add one: write its file with a `XConfig` and its `build`, add its `mod` line in `lib.rs`,
//! and here its variant and its arm.
//!
//! Invariant: what is wrong with a probe is reported when the configuration is read.

use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned};
use serde::Deserialize;

use crate::Probe;
use crate::broker::{AmqpConfig, MqttConfig, NatsConfig};
use crate::dns::DnsConfig;
use crate::grpc::GrpcConfig;
use crate::health::HealthConfig;
use crate::http::HttpConfig;
use crate::icmp::IcmpConfig;
use crate::ldap::LdapConfig;
use crate::local::certificate::CertificateConfig;
use crate::local::file::FileConfig;
use crate::local::journal::JournalConfig;
use crate::local::log::LogConfig;
use crate::local::port::PortConfig;
use crate::local::process::ProcessConfig;
use crate::local::systemd::SystemdConfig;
use crate::mail::{Mail, MailConfig};
use crate::mongodb::MongodbConfig;
use crate::mysql::MysqlConfig;
use crate::ntp::NtpConfig;
use crate::postgres::PostgresConfig;
use crate::prometheus::PrometheusConfig;
use crate::redis::RedisConfig;
use crate::script::ScriptConfig;
use crate::snmp::SnmpConfig;
use crate::ssh::SshConfig;
use crate::tcp::TcpConfig;
use crate::tls::TlsProbeConfig;
use crate::websocket::WebsocketConfig;

/// What to look at, as written: one kind with its settings.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeConfig {
    /// Runs a program.
    Script(ScriptConfig),
    /// Asks for a page, or for several.
    Http(Box<Spanned<HttpConfig>>),
    /// Connects to an address.
    Tcp(TcpConfig),
    /// Asks name servers.
    Dns(Box<DnsConfig>),
    /// Looks at the certificate of a server.
    Tls(Box<TlsProbeConfig>),
    /// Looks at a server that takes mail.
    Smtp(Box<MailConfig>),
    /// Looks at a server that shows mail.
    Imap(Box<MailConfig>),
    /// Looks at a server that hands out mail.
    Pop3(Box<MailConfig>),
    /// Looks at the banner and the host key of a server.
    Ssh(Box<SshConfig>),
    /// Asks a time server.
    Ntp(Box<NtpConfig>),
    /// Asks a Redis server.
    Redis(Box<RedisConfig>),
    /// Pings a host.
    Icmp(Box<IcmpConfig>),
    /// Logs in to a PostgreSQL server.
    Postgres(Box<PostgresConfig>),
    /// Logs in to a MySQL or MariaDB server.
    Mysql(Box<MysqlConfig>),
    /// Logs in to a MongoDB server.
    Mongodb(Box<MongodbConfig>),
    /// Looks at an MQTT broker, and at a message of it.
    Mqtt(Box<MqttConfig>),
    /// Looks at an AMQP broker, and at a queue of it.
    Amqp(Box<AmqpConfig>),
    /// Looks at a NATS server, and at a message or a reply.
    Nats(Box<NatsConfig>),
    /// Binds to a directory.
    Ldap(Box<LdapConfig>),
    /// Asks a device for a value.
    Snmp(Box<SnmpConfig>),
    /// Opens a WebSocket.
    Websocket(Box<WebsocketConfig>),
    /// Asks a gRPC server whether it serves.
    Grpc(Box<GrpcConfig>),
    /// Counts processes.
    Process(ProcessConfig),
    /// Looks at who listens.
    Port(PortConfig),
    /// Looks at files.
    File(FileConfig),
    /// Reads certificates in files.
    Certificate(CertificateConfig),
    /// Counts new lines of logs.
    Log(Box<LogConfig>),
    /// Counts new messages of the journal.
    Journal(Box<JournalConfig>),
    /// Looks at units of systemd.
    Systemd(Box<SystemdConfig>),
    /// Reads an application's health page.
    Health(Box<HealthConfig>),
    /// Scrapes an exporter.
    Prometheus(Box<PrometheusConfig>),
}

impl ProbeConfig {
    /// The probe; to be used only if nothing was reported.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Probe>> {
        Some(match self {
            Self::Script(config) => Arc::new(config.build(diagnostics)),
            Self::Http(config) => Arc::new(config.value.build(config.place, diagnostics)?),
            Self::Tcp(config) => Arc::new(config.build(diagnostics)?),
            Self::Dns(config) => Arc::new(config.build(diagnostics)?),
            Self::Tls(config) => Arc::new(config.build(diagnostics)?),
            Self::Smtp(config) => Arc::new(config.build(Mail::Smtp, diagnostics)?),
            Self::Imap(config) => Arc::new(config.build(Mail::Imap, diagnostics)?),
            Self::Pop3(config) => Arc::new(config.build(Mail::Pop3, diagnostics)?),
            Self::Ssh(config) => Arc::new(config.build(diagnostics)?),
            Self::Ntp(config) => Arc::new(config.build(diagnostics)?),
            Self::Redis(config) => Arc::new(config.build(diagnostics)?),
            Self::Icmp(config) => Arc::new(config.build(diagnostics)?),
            Self::Postgres(config) => Arc::new(config.build(diagnostics)?),
            Self::Mysql(config) => Arc::new(config.build(diagnostics)?),
            Self::Mongodb(config) => Arc::new(config.build(diagnostics)?),
            Self::Mqtt(config) => Arc::new(config.build(diagnostics)?),
            Self::Amqp(config) => Arc::new(config.build(diagnostics)?),
            Self::Nats(config) => Arc::new(config.build(diagnostics)?),
            Self::Ldap(config) => Arc::new(config.build(diagnostics)?),
            Self::Snmp(config) => Arc::new(config.build(diagnostics)?),
            Self::Websocket(config) => Arc::new(config.build(diagnostics)?),
            Self::Grpc(config) => Arc::new(config.build(diagnostics)?),
            Self::Process(config) => Arc::new(config.build(diagnostics)?),
            Self::Port(config) => Arc::new(config.build(diagnostics)?),
            Self::File(config) => Arc::new(config.build(diagnostics)?),
            Self::Certificate(config) => Arc::new(config.build(diagnostics)?),
            Self::Log(config) => Arc::new(config.build(diagnostics)?),
            Self::Journal(config) => Arc::new(config.build(diagnostics)?),
            Self::Systemd(config) => Arc::new(config.build(diagnostics)?),
            Self::Health(config) => Arc::new(config.build(diagnostics)?),
            Self::Prometheus(config) => Arc::new(config.build(diagnostics)?),
        })
    }

    /// Whether a run of it starts programs, of which only some may run at a time.
    pub fn starts_programs(&self) -> bool {
        matches!(self, Self::Script(_) | Self::Journal(_) | Self::Systemd(_))
    }
}
